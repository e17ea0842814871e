//! Where the others are: the database and the broker, which are the role's own unless the operator names others, and the pages.

use super::{DATABASE, DB_LISTEN, OWN, PORT, celery, reached};
use crate::roles::Deployment;
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Origin, Problem, Settings, bracketed, from_here};
use flowkit_core::secrets::{self, LookupError};

/// The component that has what is there once.
pub(super) const CENTRE: &str = "api-server";

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// Where they are.
pub(super) struct Places {
    /// Airflow's pages.
    pub pages: Place,
    /// The database, where it is the role's own.
    pub database: Option<Place>,
    /// The broker, where there is one and it is the role's own.
    pub broker: Option<Place>,
    /// Whether results of Celery's tasks are kept where the operator says.
    pub results_elsewhere: bool,
}

impl Places {
    pub fn of(deployment: &Deployment) -> Result<Places, Problem> {
        let settings = &deployment.site.settings;
        let here = deployment.runs(CENTRE);
        let at = |host: &str, listen: &str, port: &str| -> Result<Place, Problem> {
            let host = match here {
                true => from_here(deployment.socket(listen, port)?.ip()).to_string(),
                false => settings.text(host).expect("it has a default").to_owned(),
            };
            Ok(Place { host, port: settings.port(port) })
        };
        let own = is_own(deployment, DATABASE, OWN.listen)?;
        let user = deployment.site.store.get("FLOWETL_POSTGRES_USER").map_err(|error| error.problem())?;
        if own && user.expose() != OWN.role {
            let hint = format!("leave it out, or name a database elsewhere with {DATABASE}");
            return Err(Problem::new("FLOWETL_POSTGRES_USER is flowetl where flowkit runs FlowETL's database", hint));
        }
        let celery = celery::is_used(deployment);
        let broker = celery && is_own(deployment, celery::BROKER, Some(celery::REDIS_LISTEN))?;
        let pages = match here {
            true => Place { host: reached(deployment)?.ip().to_string(), port: settings.port(PORT) },
            false => pages_elsewhere(settings),
        };
        Ok(Places {
            pages,
            database: own.then(|| at("FLOWKIT_FLOWETL_DB_HOST", DB_LISTEN, OWN.port)).transpose()?,
            broker: broker
                .then(|| at("FLOWKIT_FLOWETL_REDIS_HOST", celery::REDIS_LISTEN, celery::REDIS_PORT))
                .transpose()?,
            results_elsewhere: celery && !is_own(deployment, celery::RESULTS, OWN.listen)?,
        })
    }
}

/// The pages, where they are on another machine.
pub(super) fn pages_elsewhere(settings: &Settings) -> Place {
    let host = settings.text("FLOWKIT_FLOWETL_HOST").expect("it has a default");
    Place { host: host.to_owned(), port: settings.port(PORT) }
}

/// Whether what a connection string among the secrets leads to is the role's own: as long as it logs in as what would be made, and names this
/// machine, or what there listens for other machines. Its port is the setting's, whatever it was when the secret was made.
pub(super) fn is_own(deployment: &Deployment, secret: &str, listen: Option<&str>) -> Result<bool, Problem> {
    let (store, settings) = (&deployment.site.store, &deployment.site.settings);
    let uri = match store.get(secret) {
        Ok(uri) => uri,
        // Said elsewhere.
        Err(LookupError::Missing { .. }) => return Ok(true),
        Err(error) => return Err(error.problem()),
    };
    let rest = uri.expose().split_once("://").map_or("", |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // By the name that this machine has among those of a stack in parts, whose secrets go on being used when it is whole again.
    let apart = catalogue().role(OWN.role).and_then(|role| role.apart.as_ref()).filter(|_| deployment.runs(CENTRE));
    let named = apart.into_iter().flat_map(|apart| apart.others.values()).map(String::as_str);
    let is_here = ["localhost", "127.0.0.1", "[::1]"]
        .into_iter()
        .chain(named)
        .any(|host| place.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
    let listens = listen.is_some_and(|listen| settings.origin(listen) != &Origin::Default);
    Ok((is_here || (listens && deployment.runs(CENTRE))) && secrets::is_as_made(store, secret, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowkit_core::secrets::Store;

    fn deployment(dir: &std::path::Path, components: &[&str], given: &[(&str, &str)]) -> Deployment {
        let mut settings = Settings::default();
        given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
        let mut deployment = Deployment::of_test(settings, Store::only(dir));
        deployment.components = components.iter().map(|name| (*name).to_owned()).collect();
        deployment
    }

    fn put(dir: &std::path::Path, secrets: &[(&str, &str)]) {
        secrets.iter().for_each(|(name, value)| std::fs::write(dir.join(name), value).unwrap());
    }

    #[test]
    fn its_database_is_its_own_until_the_secret_names_another() {
        let dir = tempfile::tempdir().unwrap();
        let of = |uri: &str, user: &str| {
            let password = ("FLOWETL_POSTGRES_PASSWORD", "p@ss");
            put(dir.path(), &[(DATABASE, uri), password, ("FLOWETL_POSTGRES_USER", user)]);
            let places = Places::of(&deployment(dir.path(), &[], &[]));
            places.map(|places| places.database.is_some()).map_err(|problem| problem.to_string())
        };
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@localhost:9001/flowetl", "flowetl"), Ok(true));
        // Made when the port was another.
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@localhost:5432/flowetl", "flowetl"), Ok(true));
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@db.example.org:9001/flowetl", "flowetl"), Ok(false));
        // Made for a stack with Celery, which has gone back to the LocalExecutor.
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@flowetl:9001/flowetl", "flowetl"), Ok(true));
        assert_eq!(of("postgresql://airflow:other@flowetl:9001/airflow", "flowetl"), Ok(false));
        assert_eq!(of("postgresql://airflow:other@localhost/airflow", "flowetl"), Ok(false));
        let refused = of("postgresql+psycopg2://ann:p%40ss@localhost:9001/flowetl", "ann").unwrap_err();
        assert!(refused.contains("FLOWETL_POSTGRES_USER is flowetl"), "{refused}");
        put(dir.path(), &[("FLOWETL_POSTGRES_USER", "flowetl")]);
        std::fs::remove_file(dir.path().join(DATABASE)).unwrap();
        let places = Places::of(&deployment(dir.path(), &[], &[])).unwrap();
        assert!(places.database.is_some(), "what is missing is said elsewhere");
        assert_eq!(places.broker, None, "there is none without Celery");
    }

    #[test]
    fn components_elsewhere_find_what_is_where_the_pages_are() {
        let dir = tempfile::tempdir().unwrap();
        let passwords = [("FLOWETL_POSTGRES_PASSWORD", "p@ss"), ("FLOWETL_REDIS_PASSWORD", "word")];
        put(dir.path(), &passwords);
        put(dir.path(), &[(DATABASE, "postgresql+psycopg2://flowetl:p%40ss@localhost:9001/flowetl")]);
        let celery = ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor");
        let hosts = ["FLOWKIT_FLOWETL_HOST", "FLOWKIT_FLOWETL_DB_HOST", "FLOWKIT_FLOWETL_REDIS_HOST"];
        let given: Vec<_> = hosts.iter().map(|name| (*name, "centre")).chain([celery]).collect();
        let seen = |components: &[&str], given: &[(&str, &str)]| {
            let Places { pages, database, broker, .. } =
                Places::of(&deployment(dir.path(), components, given)).unwrap();
            [Some(pages), database, broker].map(|place| place.map(|place| place.to_string()).unwrap_or_default())
        };
        assert_eq!(seen(&["worker"], &given), ["centre:8080", "centre:9001", "centre:6380"]);
        assert_eq!(seen(&[CENTRE], &given), ["127.0.0.1:8080", "127.0.0.1:9001", "127.0.0.1:6380"]);
        assert_eq!(seen(&[], &[celery]), ["127.0.0.1:8080", "127.0.0.1:9001", "127.0.0.1:6380"]);
        // Made for other machines, by whose name the centre itself knows its database.
        put(dir.path(), &[(DATABASE, "postgresql+psycopg2://flowetl:p%40ss@centre:9001/flowetl")]);
        let listening: Vec<_> = given.iter().copied().chain([("FLOWKIT_FLOWETL_DB_LISTEN", "0.0.0.0")]).collect();
        assert_eq!(seen(&[CENTRE], &listening)[1], "127.0.0.1:9001");
        let at_one: Vec<_> = given.iter().copied().chain([("FLOWKIT_FLOWETL_DB_LISTEN", "192.0.2.1")]).collect();
        assert_eq!(seen(&[CENTRE], &at_one)[1], "192.0.2.1:9001", "it listens nowhere else");
        assert_eq!(seen(&["worker"], &given)[1], "", "the address is the secret's");
        put(dir.path(), &[("AIRFLOW__CELERY__BROKER_URL", "redis://:other@broker.example.org:6379/0")]);
        assert_eq!(seen(&[CENTRE], &given)[2], "", "the operator's own");
    }
}
