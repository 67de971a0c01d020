//! Simulated inference engines: one model of each engine kind, two drivers (virtual time and real HTTP).
//!
//! [`model`] says what an engine does with time and jobs; [`fleet`] runs many of them in virtual time; [`http`] serves
//! one on a loopback port in the API of Ollama, vLLM, SGLang or plain OpenAI, with faults on demand; [`demo`] is a small fleet.

pub mod demo;
pub mod fleet;
pub mod http;
pub mod model;
