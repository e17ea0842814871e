//! Every layer of the lookup, and what is said of each mistake in one.

use super::*;

struct Surroundings {
    dir: tempfile::TempDir,
}

impl Surroundings {
    fn new() -> Surroundings {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["credentials", "run", "deployment"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Surroundings { dir }
    }

    fn write(&self, path: &str, text: &str) -> &Surroundings {
        std::fs::write(self.dir.path().join(path), text).unwrap();
        self
    }

    fn store(&self, environment: &[(&str, &str)]) -> Store {
        let mut values: BTreeMap<String, OsString> =
            environment.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
        values.insert("CREDENTIALS_DIRECTORY".into(), self.dir.path().join("credentials").into());
        let environment = Arc::new(move |name: &str| values.get(name).cloned());
        Store::with(Some(self.dir.path().join("deployment")), self.dir.path().join("run"), environment)
    }

    fn get(&self, environment: &[(&str, &str)]) -> Result<String, String> {
        let found = self.store(environment).get("FLOWDB_POSTGRES_PASSWORD");
        let root = format!("{}/", self.dir.path().display());
        found.map(|secret| secret.expose().to_string()).map_err(|error| error.problem().to_string().replace(&root, ""))
    }
}

/// A key alone opens what it has sealed, until its role has started and sealed that anew.
#[test]
fn what_is_kept_of_a_rotation_stays_until_each_of_its_users_has_started() {
    let place = Surroundings::new();
    let names = ["AIRFLOW__CORE__FERNET_KEY", "FLOWAUTH_FERNET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"];
    for name in names {
        place.write(&format!("deployment/{name}"), "new").write(&format!("deployment/{name}.previous"), "old");
    }
    let left = |started: &[&str]| {
        place.store(&[]).forget_previous(|role| started.contains(&role)).unwrap();
        let is_there = |name: &&str| place.dir.path().join(format!("deployment/{name}.previous")).exists();
        names.into_iter().filter(is_there).collect::<Vec<_>>()
    };
    assert_eq!(left(&[]), names);
    assert_eq!(left(&["redis"]), names, "FlowMachine has the old password still");
    assert_eq!(left(&["redis", "flowmachine"]), names[..3]);
    assert_eq!(left(&["flowdb", "redis", "flowmachine", "flowapi"]), names[..2]);
    assert_eq!(left(&["flowauth"]), names[..1]);
    assert!(left(&["flowetl"]).is_empty());
}

#[test]
fn the_order_is_credential_run_secrets_deployment_file_variable_variable() {
    let place = Surroundings::new();
    let file = place.dir.path().join("elsewhere");
    std::fs::write(&file, "file").unwrap();
    let variable = [("FLOWDB_POSTGRES_PASSWORD", "variable")];
    let both = [variable[0], ("FLOWDB_POSTGRES_PASSWORD_FILE", file.to_str().unwrap())];
    assert_eq!(place.get(&variable).unwrap(), "variable");
    assert_eq!(place.get(&both).unwrap(), "file");
    for layer in ["deployment", "run", "credentials"] {
        place.write(&format!("{layer}/FLOWDB_POSTGRES_PASSWORD"), &format!(" {layer}\n"));
        assert_eq!(place.get(&both).unwrap(), layer);
    }
}

#[test]
fn another_spelling_is_as_good_and_must_agree() {
    let place = Surroundings::new();
    place.write("run/POSTGRES_PASSWORD", "one\n");
    assert_eq!(place.get(&[]).unwrap(), "one");
    assert_eq!(place.write("run/FLOWDB_POSTGRES_PASSWORD", "one").get(&[]).unwrap(), "one");
    assert_eq!(
        place.write("run/FLOWDB_POSTGRES_PASSWORD", "two").get(&[]).unwrap_err(),
        "FLOWDB_POSTGRES_PASSWORD is given twice with different values: run/FLOWDB_POSTGRES_PASSWORD and \
         run/POSTGRES_PASSWORD (password of the database superuser `flowdb`); keep the one that is right, under the \
         name FLOWDB_POSTGRES_PASSWORD"
    );
}

#[test]
fn what_is_wrong_is_said_without_the_value() {
    let purpose = "(password of the database superuser `flowdb`)";
    let place = Surroundings::new();
    assert_eq!(
        place.get(&[]).unwrap_err(),
        format!("FLOWDB_POSTGRES_PASSWORD is missing {purpose}; make it: flowkit secrets init --dir deployment")
    );
    place.write("deployment/FLOWDB_POSTGRES_PASSWORD", "hunter2\nmore");
    assert_eq!(
        place.get(&[]).unwrap_err(),
        format!(
            "FLOWDB_POSTGRES_PASSWORD is of more than one line, or holding control characters: \
             deployment/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value there, or: flowkit secrets rotate \
             FLOWDB_POSTGRES_PASSWORD --dir deployment"
        )
    );
    place.write("deployment/FLOWDB_POSTGRES_PASSWORD", " \n");
    assert_eq!(
        place.get(&[]).unwrap_err(),
        format!(
            "FLOWDB_POSTGRES_PASSWORD is empty: deployment/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value \
             there, or: flowkit secrets rotate FLOWDB_POSTGRES_PASSWORD --dir deployment"
        )
    );
    assert!(place.get(&[("FLOWDB_POSTGRES_PASSWORD", "")]).unwrap_err().contains("is empty"));
    std::fs::create_dir(place.dir.path().join("run/FLOWDB_POSTGRES_PASSWORD")).unwrap();
    assert_eq!(
        place.get(&[]).unwrap_err(),
        format!(
            "FLOWDB_POSTGRES_PASSWORD is a directory, not a file: run/FLOWDB_POSTGRES_PASSWORD {purpose}; remove it \
             and put a file named FLOWDB_POSTGRES_PASSWORD there"
        )
    );
    let unit = Surroundings::new();
    assert_eq!(
        unit.write("credentials/FLOWDB_POSTGRES_PASSWORD", "\n").get(&[]).unwrap_err(),
        format!(
            "FLOWDB_POSTGRES_PASSWORD is empty: credentials/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value \
             into the file that its LoadCredential names: systemctl cat credentials"
        )
    );
    let nowhere = Surroundings::new();
    assert_eq!(
        nowhere.get(&[("FLOWDB_POSTGRES_PASSWORD_FILE", "/nowhere")]).unwrap_err(),
        format!(
            "FLOWDB_POSTGRES_PASSWORD can't be read: /nowhere (named by FLOWDB_POSTGRES_PASSWORD_FILE): No such file or \
             directory (os error 2) {purpose}; make it readable for the user that runs this"
        )
    );
}

#[test]
fn require_reports_all_and_fixed_values_need_no_file() {
    let place = Surroundings::new();
    let problems = place.store(&[]).require(&["FLOWAPI_FLOWDB_USER", "REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD"]);
    let names = problems.unwrap_err().0.iter().map(|p| p.what[..8].to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["REDIS_PA", "FLOWDB_P"]);
    let secrets = place.write("run/REDIS_PASSWORD", "x").store(&[]).require(&["FLOWAPI_FLOWDB_USER", "REDIS_PASSWORD"]);
    assert_eq!(secrets.unwrap()["FLOWAPI_FLOWDB_USER"].expose(), "flowapi");
}

#[test]
fn an_empty_credential_is_none_where_units_load_it_untold() {
    let place = Surroundings::new();
    let untold = ["FLOWAPI_TOKEN", "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY"];
    let told = ["DB_URI", "AUTOFLOW_DB_URI", "FLOWKIT_FLOWAUTH_OIDC_CLIENT_SECRET", "FLOWDB_POSTGRES_PASSWORD"];
    for name in untold.into_iter().chain(told) {
        place.write(&format!("credentials/{name}"), "\n");
    }
    let is_absent = |name: &str| place.store(&[]).optional(name).is_ok_and(|found| found.is_none());
    assert!(untold.into_iter().all(is_absent));
    assert!(is_absent("REDIS_PASSWORD"), "it is not there at all");
    // A unit has these where somebody named a file for them.
    assert!(!told.into_iter().any(is_absent));
    // One that somebody has put there has a mistake in it.
    let own = Surroundings::new();
    let found = own.write("deployment/FLOWAPI_TOKEN", "\n").store(&[]).optional("FLOWAPI_TOKEN");
    assert!(found.unwrap_err().what.contains("is empty"));
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_hang() {
    let place = Surroundings::new();
    let path = place.dir.path().join("run/FLOWDB_POSTGRES_PASSWORD");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(place.get(&[]).unwrap_err().contains("not a regular file"));
}
