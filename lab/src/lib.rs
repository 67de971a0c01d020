//! Simulated inference engines: one model of each engine kind, two drivers (virtual time and real HTTP).
//!
//! [`model`] says what an engine does with time and jobs; [`fleet`] runs many of them in virtual time; [`http`] serves
//! one on a loopback port in the API of Ollama, vLLM, SGLang or plain OpenAI, with faults on demand; [`demo`] is a small fleet.
//! [`sim`] runs the proxy's own fleet and strategies before them on the requests of [`workload`]; [`stats`] holds what a
//! run leaves behind and how arms are compared; [`report`] prints that.

pub mod demo;
pub mod fleet;
pub mod http;
pub mod model;
pub mod report;
pub mod sim;
pub mod stats;
pub mod workload;
