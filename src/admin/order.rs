//! What the admin API is asked for: changes of an endpoint, a request to explain, a part of the affinity tables.
//!
//! What is not understood is refused with what is allowed; nothing is ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::control::ControlError;
use super::report::State;

/// The highest weight.
pub const WEIGHT_MOST: u32 = 256;
/// The most rows of an answer.
const ROWS_MOST: usize = 10_000;
/// The highest cap.
pub const CAP_MOST: u32 = 1_000_000;

/// A change of one endpoint. What is left out stays. All of it is done at once, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointChange {
    /// Its weight: 0-256 (0 takes only what is pinned there), or `"file"`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub weight: Option<WeightWord>,
    /// Its cap: 1 or more, `"none"`, or `"file"`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<CapWord>,
    /// Its state.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// A weight, or the file's again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`weight` is a whole number from 0 to 256, or \"file\"")]
pub enum WeightWord {
    /// 0-256.
    Is(u32),
    /// The file's.
    File(FileWord),
}

/// A cap, none, or the file's again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`max_in_flight` is a whole number of 1 or more, \"none\" or \"file\"")]
pub enum CapWord {
    /// 1 or more.
    Is(u32),
    /// No cap.
    Unlimited(NoneWord),
    /// The file's.
    File(FileWord),
}

/// `"file"`: as the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileWord {
    /// The word.
    File,
}

/// `"none"`: no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoneWord {
    /// The word.
    None,
}

/// A field that is there has a value: `null` is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl EndpointChange {
    /// A change of the state alone.
    pub fn to_state(state: State) -> Self {
        EndpointChange { state: Some(state), ..EndpointChange::default() }
    }

    /// Refuses numbers out of range, and a change of nothing. Whoever implements [`super::Control`] need not look again.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn check(&self) -> Result<(), ControlError> {
        match (self.weight, self.max_in_flight) {
            (Some(WeightWord::Is(weight)), _) if weight > WEIGHT_MOST => {
                Err(ControlError::invalid(format!("weight {weight} is out of range"), "0 to 256, or \"file\""))
            }
            (_, Some(CapWord::Is(cap))) if !(1..=CAP_MOST).contains(&cap) => Err(ControlError::invalid(
                format!("max_in_flight {cap} is out of range"),
                "1 to 1000000, \"none\" or \"file\"; to send nothing there, drain it",
            )),
            _ if *self == EndpointChange::default() => {
                Err(ControlError::invalid("nothing to change", "weight, max_in_flight, state"))
            }
            _ => Ok(()),
        }
    }
}

/// A request that is to be explained, not sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The listener it would come by; left out: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Its method.
    #[serde(default = "post")]
    pub method: String,
    /// Its path, with the query if it has one.
    pub path: String,
    /// Its headers. `content-type` is `application/json` unless it is named.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body: a text is taken byte by byte, anything else as the JSON that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<serde_json::Value>,
}

fn post() -> String {
    "POST".into()
}

impl ExplainRequest {
    /// The body's bytes.
    pub fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
            Some(other) => other.to_string().into_bytes(),
        }
    }
}

/// Which part of the affinity tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AffinityQuery {
    /// Only this pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Only this key: its hash, 1 to 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many rows are shown: 1000 unless told. Of no meaning where entries are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl AffinityQuery {
    /// How many rows to show.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(1000).min(ROWS_MOST)
    }

    /// The key's hash.
    ///
    /// # Errors
    /// It is no hash.
    pub fn key_hash(&self) -> Result<Option<u64>, ControlError> {
        let Some(hex) = &self.key else { return Ok(None) };
        let plain = (1..=16).contains(&hex.len()) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = u64::from_str_radix(hex, 16).ok().filter(|_| plain);
        let wrong = || ControlError::invalid(format!("`{hex}` is no key"), "the key's hash in 1 to 16 hex digits");
        hash.map(Some).ok_or_else(wrong)
    }
}
