//! The server's program. It is told everything by environment and secrets; see `docs/flowapi.md`.

use std::process::ExitCode;

use flowapi::start::{Server, logging, settings};
use flowkit_core::secrets::Store;

/// What the operator has to change first, as `flowkit`'s own programs say it.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    let store = Store::new(None);
    let started = settings().and_then(|settings| Ok((logging(&settings), Server::new(&settings, &store)?)));
    let (logging, server) = match started {
        Ok(started) => started,
        Err(problems) => {
            say::tell!("flowapi: {problems}");
            return ExitCode::from(MISTAKE);
        }
    };
    let Ok(_running) = trace::start(&logging) else { return ExitCode::FAILURE };
    match run(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "it ends");
            ExitCode::FAILURE
        }
    }
}

fn run(server: Server) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let stop = web::stop_signal()?;
        tracing::info!(address = %server.address()?, "it serves");
        server.serve(stop).await
    });
    // Nobody waits for questions that nobody waits for.
    runtime.shutdown_background();
    served.map(drop)
}
