//! The operator's command and the supervisor.

fn main() -> std::process::ExitCode {
    flowkit::commands::main()
}
