//! Which of the provider's groups have which roles here.

use serde_json::{Map, Value};

/// What makes an administrator.
const ADMINISTRATOR: &str = "administrator";

/// By which claim groups are named, and what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The claim; dots lead into objects (`realm_access.roles`).
    pub claim: String,
    /// Pairs of a group and what it has.
    pub have: Vec<(String, Has)>,
}

/// What a group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Has {
    /// Its members look after everything.
    Administrator,
    /// A role of a server, by their names.
    Role(String, String),
}

impl Groups {
    /// Reads `GROUP = SERVER/ROLE, GROUP = administrator`.
    ///
    /// # Errors
    /// In words: what is no such pair.
    pub fn parse(claim: &str, text: &str) -> Result<Groups, String> {
        let pair = |pair: &str| {
            let wrong = || format!("{:?} is neither GROUP=SERVER/ROLE nor GROUP={ADMINISTRATOR}", pair.trim());
            // A group may have an equals sign in its name; servers and roles of a mapping have none.
            let (group, has) = pair.rsplit_once('=').ok_or_else(wrong)?;
            let (group, has) = (group.trim(), has.trim());
            let has = match has.split_once('/') {
                _ if has == ADMINISTRATOR => Has::Administrator,
                Some((server, role)) if !server.is_empty() && !role.is_empty() => {
                    Has::Role(server.trim().to_owned(), role.trim().to_owned())
                }
                _ => return Err(wrong()),
            };
            if group.is_empty() { Err(wrong()) } else { Ok((group.to_owned(), has)) }
        };
        let have = text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect::<Result<_, _>>()?;
        Ok(Groups { claim: claim.to_owned(), have })
    }

    /// All that any group has: what is looked after by the provider.
    pub fn looked_after(&self) -> impl Iterator<Item = &Has> {
        self.have.iter().map(|(_, has)| has)
    }

    /// Whether the provider says that there are groups, and not which: Entra ID does where they are more than a token takes.
    pub fn are_withheld(&self, claims: &Map<String, Value>) -> bool {
        let elsewhere = claims.get("_claim_names").and_then(|names| names.get(&self.claim)).is_some();
        elsewhere || claims.get("hasgroups").and_then(Value::as_bool) == Some(true)
    }

    /// What somebody has by these claims.
    pub fn of<'a>(&'a self, claims: &'a Map<String, Value>) -> impl Iterator<Item = &'a Has> {
        let mut at = claims.get(&self.claim);
        if at.is_none() {
            let mut path = self.claim.split('.');
            at = path.next().and_then(|first| claims.get(first));
            at = path.fold(at, |at, part| at?.get(part));
        }
        let names: Vec<&str> = match at {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        };
        self.have.iter().filter(move |(group, _)| names.contains(&group.as_str())).map(|(_, has)| has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mapping_is_read_and_says_what_somebody_has() {
        let text = "cn=staff = here/analyst, admins=administrator,,night=here/reader";
        let groups = Groups::parse("realm_access.roles", text).unwrap();
        let role = |name: &str| Has::Role("here".to_owned(), name.to_owned());
        assert_eq!(groups.have[0], ("cn=staff".to_owned(), role("analyst")));
        for (claims, expected) in [
            (
                json!({ "realm_access": { "roles": ["admins", "cn=staff", "other", 7] } }),
                vec![role("analyst"), Has::Administrator],
            ),
            (json!({ "realm_access.roles": "night" }), vec![role("reader")]),
            (json!({ "realm_access": ["night"] }), vec![]),
            (json!({}), vec![]),
        ] {
            assert_eq!(groups.of(claims.as_object().unwrap()).cloned().collect::<Vec<_>>(), expected, "{claims}");
        }
        for (claims, withheld) in [
            (json!({ "_claim_names": { "realm_access.roles": "src1" }, "_claim_sources": {} }), true),
            (json!({ "_claim_names": { "other": "src1" } }), false),
            (json!({ "hasgroups": true }), true),
            (json!({}), false),
        ] {
            assert_eq!(groups.are_withheld(claims.as_object().unwrap()), withheld, "{claims}");
        }
        for wrong in ["staff", "staff=analyst", "=here/analyst", "staff=/analyst", "staff=here/"] {
            assert!(Groups::parse("groups", wrong).unwrap_err().contains("SERVER/ROLE"), "{wrong}");
        }
    }
}
