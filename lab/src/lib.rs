//! Simulated inference engines: one model of each engine kind, two drivers (virtual time and real HTTP).
//!
//! [`model`] says what an engine does with time and jobs; [`http`] serves it on a loopback port in the API of Ollama,
//! vLLM or plain OpenAI, with faults on demand.

pub mod http;
pub mod model;
