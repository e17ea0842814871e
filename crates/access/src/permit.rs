//! The rule: a request is allowed when one single role holds every scope that it needs, and may see every day that it looks
//! at. Scopes of two roles never add up, and names match whole or not at all.

use std::collections::BTreeMap;

use crate::dates::{self, Reach};
use crate::{Dates, Role, Spec, Token};

/// What is done with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Have it worked out.
    Run,
    /// Ask how far it is.
    Poll,
    /// Fetch its result. For GeoJSON, [`Token::permit_geography`] is asked as well.
    Get,
}

impl Act {
    /// The scope that it needs beside those of the query; polling needs none.
    pub fn scope(self) -> Option<&'static str> {
        match self {
            Self::Run => Some("run"),
            Self::Poll => None,
            Self::Get => Some("get_result"),
        }
    }
}

/// Leave to do it, for the access log, and what may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The scopes that it took (`requested_scopes`).
    pub scopes: Vec<String>,
    /// The roles that have them all (`granting_roles`); at least one.
    pub roles: Vec<&'a Role>,
}

impl Grant<'_> {
    /// Whether one of the granting roles may see this day, given as `2016-01-31`. What isn't a day is shown to those only
    /// whom nothing limits.
    pub fn shows(&self, day: &str) -> bool {
        let day = dates::day(day);
        self.roles.iter().any(|role| match day {
            Some(day) => role.dates.shows(day),
            None => !role.dates.limited(),
        })
    }

    /// `available_dates` as this token may see them: each kind of event with its days, those without any left out.
    pub fn available(&self, all: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
        let shown = |days: Vec<String>| days.into_iter().filter(|day| self.shows(day)).collect::<Vec<_>>();
        all.into_iter().map(|(kind, days)| (kind, shown(days))).filter(|(_, days)| !days.is_empty()).collect()
    }
}

/// A token that is valid, but doesn't allow this. The text is the `msg` of a 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No role has all the scopes. In upstream's words, which tell nobody what is there to be had.
    #[error("User claims verification failed")]
    Scopes {
        /// What it would have taken, for the log.
        scopes: Vec<String>,
    },
    /// The scopes would do, the days don't.
    #[error("This token allows data {allowed}; the request is for {asked}")]
    Dates {
        /// The days of the first role that has the scopes.
        allowed: Dates,
        /// What was asked for.
        asked: Reach,
    },
}

impl Denied {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        403
    }

    /// The name of the event in the access log.
    pub fn event(&self) -> &'static str {
        "CLAIMS_VERIFICATION_FAILED"
    }
}

impl Token {
    /// Whether there is any aggregation unit with which this would be allowed. It is asked before FlowMachine is: who is
    /// refused here would be refused whatever FlowMachine says, and gets nothing through to it.
    ///
    /// # Errors
    /// As [`Self::permit`]; the scopes named are those of no unit in particular (`*`).
    pub fn precheck(&self, act: Act, spec: &Spec) -> Result<(), Denied> {
        let tails: Vec<String> = spec.kinds().iter().map(|kind| format!(":{}:{kind}", spec.kind())).collect();
        let any = |role: &Role| {
            let units = role.scopes.iter().filter_map(|scope| scope.strip_suffix(tails[0].as_str()));
            let whole = |unit: &str| tails.iter().all(|tail| role.scopes.contains(&format!("{unit}{tail}")));
            units.into_iter().any(whole)
        };
        let able = |role: &&Role| role.holds(act.scope()) && any(role);
        let wanted = || act.scope().map(str::to_owned).into_iter().chain(tails.iter().map(|tail| format!("*{tail}")));
        self.within(self.roles.iter().filter(able).collect(), || wanted().collect(), spec.reach()).map(|_| ())
    }

    /// Whether a query is allowed, with the aggregation unit that FlowMachine has named for it (`None` where it has none).
    ///
    /// # Errors
    /// No single role has the act and the triplet of each kind in the query, or none of those that do may see its days.
    pub fn permit(&self, act: Act, spec: &Spec, unit: Option<&str>) -> Result<Grant<'_>, Denied> {
        let unit = unit.unwrap_or("nonspatial");
        let triplets = spec.kinds().iter().map(|kind| format!("{unit}:{}:{kind}", spec.kind()));
        let scopes: Vec<String> = act.scope().map(str::to_owned).into_iter().chain(triplets).collect();
        self.grant(scopes, spec.reach())
    }

    /// Whether the shapes of a unit are allowed: of the unit in the path, or of a result as GeoJSON (then as a second check,
    /// which another role may meet).
    ///
    /// # Errors
    /// No single role has both scopes.
    pub fn permit_geography(&self, unit: &str) -> Result<Grant<'_>, Denied> {
        self.grant(vec!["get_result".into(), format!("{unit}:geography:geography")], &Reach::Nothing)
    }

    /// Whether the days that there is data of may be asked for; which of them are told is [`Grant::available`]'s answer.
    ///
    /// # Errors
    /// No role has the scope.
    pub fn permit_dates(&self) -> Result<Grant<'_>, Denied> {
        self.grant(vec!["get_available_dates".into()], &Reach::Nothing)
    }

    /// Whether it may be asked how the deployment is. No role can be granted this: no document of a server names it. FlowAuth's own tokens have it.
    ///
    /// # Errors
    /// No role has the scope.
    pub fn permit_deployment(&self) -> Result<Grant<'_>, Denied> {
        self.grant(vec!["get_deployment".into()], &Reach::Nothing)
    }

    /// Whether quality checks may be asked for: their list, or with days, both included, their outcomes.
    ///
    /// # Errors
    /// No role has the scope, or none that has may see the days.
    pub fn permit_quality(&self, days: Option<(time::Date, time::Date)>) -> Result<Grant<'_>, Denied> {
        let reach = days.map_or(Reach::Nothing, |(first, last)| match last.next_day() {
            Some(end) => Reach::Between(first.midnight(), end.midnight()),
            None => Reach::Unknown(format!("the last day, {last}")),
        });
        self.grant(vec!["get_qa_checks".into()], &reach)
    }

    fn grant(&self, scopes: Vec<String>, reach: &Reach) -> Result<Grant<'_>, Denied> {
        let able = self.roles.iter().filter(|role| role.holds(scopes.iter().map(String::as_str))).collect();
        let roles = self.within(able, || scopes.clone(), reach)?;
        Ok(Grant { scopes, roles })
    }

    /// Those of the able roles that may see the days.
    fn within<'a>(
        &self,
        able: Vec<&'a Role>,
        wanted: impl Fn() -> Vec<String>,
        reach: &Reach,
    ) -> Result<Vec<&'a Role>, Denied> {
        let Some(allowed) = able.first().map(|role| role.dates) else {
            return Err(Denied::Scopes { scopes: wanted() });
        };
        let roles: Vec<&Role> = able.into_iter().filter(|role| role.dates.cover(reach)).collect();
        if roles.is_empty() { Err(Denied::Dates { allowed, asked: reach.clone() }) } else { Ok(roles) }
    }
}

#[cfg(test)]
mod tests;
