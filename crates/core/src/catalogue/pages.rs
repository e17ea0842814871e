//! The reference pages of the manual, written from the catalogue.

use std::fmt::Write;

use super::{Component, Make, Port, Role, Scope, Secret, Setting, Source, Type, Volume, catalogue};

const GENERATED: &str = "<!-- Written by `flowkit docs write docs` from src/roles/*.toml: change those. -->\n";

/// Every page: its file name below `reference/` and its text.
pub fn pages() -> [(&'static str, String); 3] {
    [("secrets.md", secrets()), ("settings.md", settings()), ("ports.md", ports())]
}

fn secrets() -> String {
    let mut page = page(
        "Secrets",
        "Every secret of every role, by the name that FlowKit's deployment guide gives it. `flowkit secrets init` makes \
         them, `check` says what is wrong, `rotate` replaces them; none of them ever prints a value.\n\n\
         A service looks for a secret as a systemd credential (`$CREDENTIALS_DIRECTORY/NAME`), then in `/run/secrets/NAME` \
         (Docker, Podman), then in the deployment's secrets directory, then in the file that the variable `NAME_FILE` \
         names, then in the variable `NAME`. The first place that has it counts. Blanks at both ends are no part of it. \
         RSA keys may be base64 of their PEM. Another spelling is as good; when two are given in one place and differ, \
         that is an error.",
    );
    for role in catalogue().roles() {
        heading(&mut page, role);
        let own = role.secrets.iter().map(|secret| {
            vec![
                names(secret.spellings()),
                secret.kind.name().into(),
                made(secret),
                purpose(secret),
                source(secret.from),
            ]
        });
        table(&mut page, &["Secret", "Kind", "Made", "For", "Named by"], own);
        let used = role.uses.iter().filter(|name| catalogue().secret(name).is_some());
        list(&mut page, "Uses also", used.map(|name| owned(name)));
    }
    page
}

fn settings() -> String {
    let mut page = page(
        "Settings",
        "Every setting of every role. A value comes from a flag, else from a file of its own in `/run/secrets` (any setting \
         may be given like a secret, as to upstream's programs), else from the environment, else from `flowkit.toml` in \
         the state directory (`NAME = \"value\"`, one a line), else it is the default. An empty value counts as none. All \
         values are checked before anything starts, and everything that is wrong is told at once.\n\n\
         Sizes are bytes, or a number with kB, MB, GB or TB, which are powers of 1024 as in PostgreSQL. Flags are true \
         or false. Choices may be written in any case. Values of the deployment are read by whoever lays it out (a stack, \
         a module), not by the role's own programs.",
    );
    for role in catalogue().roles() {
        heading(&mut page, role);
        let (own, deployment): (Vec<_>, Vec<_>) = role.settings.iter().partition(|s| s.scope == Scope::Service);
        setting_table(&mut page, &own);
        if !deployment.is_empty() {
            page.push_str("Of the deployment:\n\n");
            setting_table(&mut page, &deployment);
        }
        let used = role.uses.iter().filter(|name| catalogue().setting(name).is_some());
        list(&mut page, "Uses also", used.map(|name| owned(name)));
        let passed = role.passes.iter().map(|prefix| format!("`{prefix}…`"));
        list(&mut page, "Hands on as they are settings that begin with", passed);
    }
    page
}

fn setting_table(page: &mut String, settings: &[&Setting]) {
    let rows = settings.iter().map(|setting| {
        vec![names(setting.spellings()), accepted(setting), default(setting), purpose_of(setting), source(setting.from)]
    });
    table(page, &["Setting", "Accepts", "Default", "For", "Named by"], rows);
}

fn ports() -> String {
    let mut page = page(
        "Ports and volumes",
        "Where each role listens, what it keeps on disk, whom it talks to, and what it needs from the machine. Everything \
         listens on 127.0.0.1 unless its address is set or said otherwise here.",
    );
    for role in catalogue().roles() {
        heading(&mut page, role);
        let ports = role.ports.iter().map(|port| {
            vec![port.name.clone(), number(port), address(port), in_container(port), port.protocol.clone()]
        });
        table(&mut page, &["Port", "On a host", "Address", "In a container", "Protocol"], ports);
        let volumes = role.volumes.iter().map(|volume| {
            vec![on_host(volume), format!("`{}`", volume.container), mode(volume), volume.purpose.clone()]
        });
        table(&mut page, &["On a host", "In a container", "Mode", "What is in it"], volumes);
        let talks = role.talks_to.iter().map(|talk| {
            let title = catalogue().role(&talk.role).map_or(talk.role.as_str(), |role| &role.title);
            format!("{title} ({})", talk.why)
        });
        list(&mut page, "Talks to", talks);
        if let Some(apart) = &role.apart {
            _ = write!(page, "With `{}={}` its components may run apart:\n\n", apart.setting, apart.value);
            table(
                &mut page,
                &["Component", "Does", "Ports", "Service of a stack", "Memory", "Secrets"],
                role.components.iter().map(component),
            );
        }
        let needs = &role.needs;
        let memory = match needs.database_mib {
            0 => format!("{} MiB of memory", needs.memory_mib),
            database => format!("{} MiB of memory, and {database} for its database", needs.memory_mib),
        };
        let disk = format!("disk for {}", needs.disk);
        list(
            &mut page,
            "Needs",
            [memory].into_iter().chain((needs.disk != "none").then_some(disk)).chain(needs.programs.iter().cloned()),
        );
    }
    page
}

fn component(component: &Component) -> Vec<String> {
    let count = component.count.as_ref().map(|name| format!(", as many as `{name}` says")).unwrap_or_default();
    let more = if component.any_variable { "; any variable of the operator's" } else { "" };
    vec![
        format!("`{}`", component.name),
        component.purpose.clone(),
        component.ports.join(", "),
        format!("`{}`{count}", component.service),
        format!("{} MiB", component.memory_mib),
        component.secrets.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") + more,
    ]
}

fn page(title: &str, introduction: &str) -> String {
    format!("{GENERATED}# {title}\n\n{introduction}\n\n")
}

fn heading(page: &mut String, role: &Role) {
    let built = if role.built { "" } else { " Not built yet: what is said here can be made and checked already." };
    _ = write!(page, "## {}\n\n{}.{built}\n\n", role.title, capital(&role.summary));
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn table(page: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows = rows.map(|row| format!("| {} |\n", row.join(" | "))).collect::<String>();
    if !rows.is_empty() {
        _ = write!(page, "| {} |\n|{}\n{rows}\n", header.join(" | "), "---|".repeat(header.len()));
    }
}

fn list(page: &mut String, introduction: &str, items: impl Iterator<Item = String>) {
    let items = items.collect::<Vec<_>>().join("; ");
    if !items.is_empty() {
        _ = write!(page, "{introduction}: {items}.\n\n");
    }
}

fn names<'a>(spellings: impl Iterator<Item = &'a str>) -> String {
    let names = spellings.map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match names.as_slice() {
        [own, also @ ..] if !also.is_empty() => format!("{own}; also {}", also.join(", ")),
        names => names.concat(),
    }
}

fn owned(name: &str) -> String {
    let owner = catalogue().owner(name).map_or("", |role| &role.title);
    format!("`{name}` ({owner})")
}

fn source(source: Source) -> String {
    match source {
        Source::Guide => "the guide",
        Source::Upstream => "upstream's programs",
        Source::Ours => "us",
    }
    .into()
}

fn made(secret: &Secret) -> String {
    match &secret.make {
        Make::Generate => "by chance".into(),
        Make::Fixed(value) => format!("`{value}`"),
        Make::Template(template) => format!("`{template}`"),
        Make::PublicHalfOf(private) => format!("public half of `{private}`"),
        Make::CertificateFor(key) => format!("self-signed, for `{key}`"),
        Make::Operator(from) => format!("by you: {from}"),
    }
}

fn purpose(secret: &Secret) -> String {
    let optional = match &secret.unless {
        Some(flag) => format!("; may be missing with `{flag}`"),
        None if secret.optional => "; may be missing".to_owned(),
        None => String::new(),
    };
    let change = secret.on_change.as_ref().map(|change| format!(". Once it is replaced, {change}")).unwrap_or_default();
    format!("{}{optional}{change}", secret.purpose)
}

fn purpose_of(setting: &Setting) -> String {
    match &setting.ignored {
        Some(reason) => format!("{}. Has no effect: {reason}", setting.purpose),
        None => setting.purpose.clone(),
    }
}

fn accepted(setting: &Setting) -> String {
    let kind = match setting.r#type {
        Type::Choice => setting.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        kind => kind.name().to_string(),
    };
    let limit = |limit: Option<i64>| limit.map(|limit| setting.shown(limit));
    let range = match (limit(setting.min), limit(setting.max), setting.above) {
        (Some(low), Some(high), _) => format!(" from {low} to {high}"),
        (Some(low), None, _) => format!(", at least {low}"),
        (None, Some(high), _) => format!(", at most {high}"),
        (None, None, Some(low)) => format!(" greater than {low}"),
        (None, None, None) => String::new(),
    };
    kind + &range
}

fn default(setting: &Setting) -> String {
    let own = match (&setting.default, &setting.default_text) {
        (Some(value), _) => format!("`{value}`"),
        (None, Some(words)) => words.clone(),
        (None, None) => "none".into(),
    };
    match &setting.default_from {
        Some(other) => format!("that of `{other}`, else {own}"),
        None => own,
    }
}

fn number(port: &Port) -> String {
    let number = catalogue().setting(&port.setting).and_then(|setting| setting.default.as_deref()).unwrap_or_default();
    format!("{number} (`{}`)", port.setting)
}

fn address(port: &Port) -> String {
    let Some(name) = &port.listen else { return if port.between { "every one" } else { "127.0.0.1" }.into() };
    let address = catalogue().setting(name).and_then(|setting| setting.default.as_deref()).unwrap_or_default();
    format!("{address} (`{name}`)")
}

fn in_container(port: &Port) -> String {
    match &port.published {
        Some(name) if port.plain => format!("{}, published as `{name}` where that is given", port.container),
        Some(name) => format!("{}, published as `{name}`", port.container),
        None => format!("{}, not published", port.container),
    }
}

fn on_host(volume: &Volume) -> String {
    match (&volume.state, &volume.setting) {
        (Some(state), _) => match &volume.place {
            Some(place) => format!("`{state}` in the state directory (`{place}`)"),
            None => format!("`{state}` in the state directory"),
        },
        (None, Some(setting)) => format!("`{setting}`"),
        (None, None) => "none".into(),
    }
}

fn mode(volume: &Volume) -> String {
    if volume.read_only { "only read".into() } else { "read and written".into() }
}
