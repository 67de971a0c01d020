//! A scenario in less time: engines, requests and the proxy's timers all faster by one factor.
//!
//! What is built into the proxy stays (the least patience, how long a sample is believed, how soon the queue is looked
//! at again, load times that are assumed before any is known), so a compressed scenario is not quite the scenario. Both
//! drivers can play it.

use std::sync::Arc;

use arriero_core::Time;

use super::scenario::{FaultKind, Profile, Scenario};
use crate::workload::Request;

/// Arriero takes no shorter pace of load samples, seconds.
const SHORTEST_POLL_S: f64 = 0.05;
/// The paces of load samples from engines with a queue gauge, and from others, seconds.
const POLLS_S: (f64, f64) = (0.5, 2.0);

impl Scenario {
    /// The same, `scale` times as fast, but for rates of arrival: those of its requests are made by [`compress`].
    pub fn compressed(&self, scale: f64) -> Scenario {
        let mut fast = self.clone();
        for model in &mut fast.models {
            model.decode_tps *= scale;
            model.prefill_tps *= scale;
        }
        for profile in fast.profiles.values_mut() {
            match profile {
                Profile::Ollama(ollama) => {
                    ollama.keep_alive_s /= scale;
                    ollama.load_gb_per_s *= scale;
                    ollama.load_fixed_s /= scale;
                }
                Profile::Vllm(vllm) => {
                    vllm.base_ms /= scale;
                    vllm.per_sequence_ms /= scale;
                    vllm.per_prefill_ms /= scale;
                    vllm.per_context_ms /= scale;
                }
            }
        }
        for fault in &mut fast.faults {
            if let FaultKind::FailFast(seconds) = &mut fault.kind {
                *seconds /= scale;
            }
        }
        let gauges = self.profiles.values().all(Profile::has_gauge);
        let proxy = &mut fast.proxy;
        proxy.queue_timeout_s /= scale;
        proxy.first_byte_s = proxy.first_byte_s.map(|span| span / scale);
        proxy.between_chunks_s = proxy.between_chunks_s.map(|span| span / scale);
        proxy.load_allowance_s /= scale;
        proxy.check_every_s /= scale;
        let poll = proxy.poll_s.unwrap_or(if gauges { POLLS_S.0 } else { POLLS_S.1 });
        proxy.poll_s = Some((poll / scale).max(SHORTEST_POLL_S));
        fast
    }
}

/// The same requests `scale` times as fast one after the other.
pub fn compress(requests: &[Request], scale: f64) -> Arc<[Request]> {
    let sooner =
        |request: &Request| Request { at: Time::from_secs_f64(request.at.0 as f64 / 1e6 / scale), ..request.clone() };
    requests.iter().map(sooner).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Profile, Stage, shipped};
    use super::*;

    #[test]
    fn every_time_is_shorter_by_the_factor() {
        let scenario = shipped("S3").unwrap();
        let fast = scenario.compressed(20.0);
        let (Profile::Ollama(slow), Profile::Ollama(quick)) =
            (&scenario.profiles["gpu-24g"], &fast.profiles["gpu-24g"])
        else {
            panic!("S3 runs on Ollama");
        };
        let load = |profile: &super::super::OllamaProfile| 9.0 / profile.load_gb_per_s + profile.load_fixed_s;
        assert!((load(slow) / load(quick) - 20.0).abs() < 1e-9);
        assert!((slow.keep_alive_s / quick.keep_alive_s - 20.0).abs() < 1e-9);
        assert!((fast.models[3].decode_tps / scenario.models[3].decode_tps - 20.0).abs() < 1e-9);
        assert_eq!((fast.proxy.check_every_s, fast.proxy.poll_s), (0.1, Some(0.1)));
        assert_eq!((fast.proxy.first_byte_s, fast.proxy.queue_timeout_s), (None, 50_000.0));
    }

    #[test]
    fn requests_keep_their_order_and_size() {
        let stage = Stage::new(shipped("S1-p1").unwrap(), None).unwrap();
        let requests = stage.requests(3).unwrap();
        let fast = compress(&requests, 20.0);
        assert_eq!(fast.len(), requests.len());
        let (slow, quick) = (requests.last().unwrap(), fast.last().unwrap());
        assert!((slow.at.0 as f64 / quick.at.0 as f64 - 20.0).abs() < 1e-3);
        assert_eq!((slow.output_tokens, slow.model), (quick.output_tokens, quick.model));
    }
}
