//! The server's program. It is told everything by environment and secrets; see `docs/flowauth.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use flowauth::start::{Given, Server, logging, settings};
use flowkit_core::secrets::Store;

/// What the operator has to change first, as `flowkit`'s own programs say it.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    // What a rotation has replaced lies beside what it was replaced by.
    let secrets = Store::new(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    let given = settings().and_then(|settings| Ok((logging(&settings), Given::read(&settings, &secrets)?)));
    let (logging, given) = match given {
        Ok(given) => given,
        Err(problems) => {
            say::tell!("flowauth: {problems}");
            return ExitCode::from(MISTAKE);
        }
    };
    let Ok(_running) = trace::start(&logging) else { return ExitCode::FAILURE };
    match run(given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |error| error.source());
            let why = causes.map(|cause| format!(": {cause}")).collect::<String>();
            tracing::error!("it ends: {error}{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(given: Given) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = web::stop_signal()?;
        let server = Server::new(given).await?;
        tracing::info!(address = %server.address()?, "it serves");
        server.serve(stop).await?;
        Ok(())
    })
}
