//! What to do about errors that can't say it: those of parts that know nothing of FlowKit, and what only shows in what was asked.
//! What says it itself (a [`Problem`](flowkit_core::config::Problem), a refusal that names a command) has no entry.

use std::error::Error;

use super::Failure;
use super::auth::ClientError;
use crate::{flowmachine, verify};
use flowkit_core::secrets::LookupError;
use say::tell;
use tokio_postgres::error::SqlState;

/// Says what went wrong, and what to do about it.
pub fn tell(failure: &Failure) {
    tell!("{failure}");
    if let Some(hint) = of(failure) {
        tell!("  hint: {hint}");
    }
}

/// The hint for the first of an error and its causes that has one.
fn of(failure: &Failure) -> Option<String> {
    let (Failure::Mistake(error) | Failure::Failed(error)) = failure;
    let error: &(dyn Error + 'static) = &**error;
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| {
        let secret = error.downcast_ref::<LookupError>().map(LookupError::hint);
        let known = || error.downcast_ref().and_then(of_supervisor);
        let known = known().or_else(|| error.downcast_ref().and_then(of_postgres));
        let known = known.or_else(|| error.downcast_ref().and_then(of_flowmachine));
        let known = known.or_else(|| error.downcast_ref().and_then(of_verify));
        let known = known.or_else(|| error.downcast_ref().and_then(of_flowauth));
        let known = known.or_else(|| error.downcast_ref().and_then(of_statement));
        secret.or_else(|| known.map(str::to_owned))
    })
}

fn of_supervisor(error: &supervisor::Error) -> Option<&'static str> {
    use supervisor::Error as E;
    Some(match error {
        E::NotRunning { .. } => "start it with `flowkit up --detach`, or name another deployment with --dir",
        E::AlreadyRunning { .. } => "`flowkit status` shows it, `flowkit down` stops it",
        E::Survivors { .. } => "look what they are (`ps`), and end them with `kill`",
        E::StillRunning { .. } => "`flowkit status` shows which service takes its time; it is ended when that is over",
        E::Answer { .. } => "if it is another version's: `flowkit down`, then `flowkit up`",
        E::Services(_) | E::Threads(_) => "this is a fault of flowkit's: please report it",
        E::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run this as the owner of the deployment, or as root"
        }
        E::PathTooLong { .. } | E::File { .. } | E::System { .. } | E::Deaf { .. } => return None,
        E::Refused(_) | E::Detached(_) => return None,
    })
}

fn of_postgres(error: &postgres::Error) -> Option<&'static str> {
    use postgres::Error as E;
    match error {
        E::Connect { .. } => {
            Some("`flowkit status` shows whether it runs, `flowkit up` starts it; its log is in the state directory")
        }
        E::Migration(_) => {
            Some("nothing has changed: please report it with its causes; the former flowkit still serves the database")
        }
        E::Initdb { .. } => Some("look for room on the disk, and for the right to write there"),
        _ => None,
    }
}

fn of_statement(error: &tokio_postgres::Error) -> Option<&'static str> {
    match error.code() {
        Some(&SqlState::QUERY_CANCELED | &SqlState::ADMIN_SHUTDOWN | &SqlState::READ_ONLY_SQL_TRANSACTION) => Some(
            "FlowDB lets nobody write while its disk is nearly full: then `disk-guard` says so in its log; if not, somebody has ended it",
        ),
        Some(&SqlState::DISK_FULL) => Some("make room on FlowDB's disk, or move it to a larger one"),
        _ => None,
    }
}

fn of_flowmachine(error: &flowmachine::Error) -> Option<&'static str> {
    use flowmachine::Error as E;
    match error {
        E::Unreachable { .. } => Some(
            "`flowkit status` shows whether it runs; FLOWMACHINE_HOST and FLOWMACHINE_PORT say where it is looked for",
        ),
        E::Late { .. } => Some("it may be at work: try again; `flowkit restart flowmachine` starts it anew"),
        E::Strange { .. } => Some("something else listens there: see FLOWMACHINE_HOST and FLOWMACHINE_PORT"),
        E::Refused { .. } => None,
    }
}

fn of_verify(error: &verify::Error) -> Option<&'static str> {
    use verify::Error as E;
    match error {
        E::Late { .. } | E::DagLate { .. } => Some("give it more time with --patience"),
        E::NotIngested { .. } => Some("`flowkit etl status` shows which days are there"),
        E::Nothing => Some("take a day with more people, or load made-up ones: `flowkit db demo`"),
        E::Silent { .. } => Some("`flowkit status` shows whether it runs"),
        E::LetIn(_) => Some(
            "FlowAPI asks for revoked tokens where FLOWKIT_FLOWAPI_REVOCATIONS_URL says: its log says what it is told",
        ),
        E::Different(_) | E::Miscounted { .. } | E::Lost { .. } => {
            Some("these figures are wrong: please report it, with FlowMachine's log")
        }
        _ => None,
    }
}

fn of_flowauth(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Silent { .. } => Some("`flowkit status` shows whether it runs; --url names another"),
        ClientError::Refused { status: 401, .. } => Some(
            "give another key with --key-file: from \"Keys for programs\" in FlowAuth's pages, or by `flowkit auth key first`, which needs the administrator's \
             first password: where that is another by now, FLOWKIT_FLOWAUTH_SET_ADMIN_PASSWORD=true for one start sets it again",
        ),
        ClientError::Refused { status: 403, .. } => Some("the key may not do that: give one that may, with --key-file"),
        ClientError::Refused { status: 404, path, .. } if path.starts_with("/tokens/tokens/") => {
            Some("`flowkit auth token list` shows your own; anybody's is revoked with --all, by a key that administers")
        }
        ClientError::Refused { status: 404, path, .. } if path.starts_with("/admin/tokens/") => {
            Some("`flowkit auth token list --all` shows those that live")
        }
        ClientError::Refused { .. } | ClientError::Strange { .. } | ClientError::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_that_has_one_is_hinted_at() {
        let missing = LookupError::Missing { name: "FLOWAPI_TOKEN", directory: None };
        let hint = of(&Failure::from(verify::Error::Secret(missing)));
        assert!(hint.is_some_and(|hint| hint.contains("FlowAuth")));
        let nowhere = supervisor::Error::NotRunning { dir: "/nowhere".into() };
        assert!(of(&Failure::from(nowhere)).is_some_and(|hint| hint.contains("flowkit up")));
        assert_eq!(of(&Failure::from(std::io::Error::other("disk on fire"))), None);
    }
}
