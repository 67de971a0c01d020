//! One lab engine in the foreground: `engine [ollama|vllm|sglang|openai] [address] [time scale]`, until interrupted.
//!
//! Serves qwen3:8b, llama3.2:3b and nomic-embed-text (vLLM, SGLang: qwen3:8b). Prints its URL once it listens.

use std::net::SocketAddr;

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever starts it reads the URL there")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let flavour = arguments.next().unwrap_or_else(|| "ollama".to_owned());
    let listen: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let time_scale: f64 = arguments.next().as_deref().unwrap_or("1").parse()?;
    let models = vec![
        ModelSpec::new("qwen3:8b", 5.2, 6.6, 60.0, 2500.0),
        ModelSpec::new("llama3.2:3b", 2.0, 3.4, 100.0, 5000.0),
        ModelSpec::new("nomic-embed-text:latest", 0.3, 0.6, 1000.0, 20_000.0).for_embeddings(),
    ];
    let spec = match flavour.as_str() {
        "ollama" => LabSpec::ollama(OllamaSpec::new(models)),
        "vllm" => LabSpec::vllm(VllmSpec::a100_8b(models[..1].to_vec())),
        "sglang" => LabSpec::sglang(VllmSpec::a100_8b(models[..1].to_vec())),
        "openai" => LabSpec::openai(models, 4),
        other => return Err(format!("`{other}` is none of ollama, vllm, sglang, openai").into()),
    };
    let engine = LabEngine::start(LabSpec { listen, time_scale, ..spec }).await?;
    println!("{}", engine.url());
    tokio::signal::ctrl_c().await?;
    engine.stop().await;
    Ok(())
}
