//! The deployment, for administrators: whether all is there, which days of data there are, what ends soon.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::Page;
use crate::caller::Access::Admin;
use crate::deployment::{Deployment, FlowApi};
use crate::routes::{Answer, Table};
use crate::store::{Kind, now};

/// Months that are shown of each kind of data: two years.
const MONTHS: usize = 24;

/// A certificate that ends within so many seconds is marked: thirty days.
const SOON: i64 = 30 * 86400;

pub fn enter(table: Table) -> Table {
    table.page("/manage/deployment", Admin, show)
}

async fn show(page: Page) -> Answer {
    let deployment = page.app.deployment().await?;
    let body = html! {
        (own(&page, &deployment))
        h2 { "FlowAPI" }
        @match &deployment.flowapi {
            None => p .empty { (page.t("deployment.outside")) },
            Some(flowapi) => (beside(&page, flowapi)),
        }
        h2 { (page.t("deployment.near")) }
        @if deployment.near.is_empty() { p .empty { (page.t("deployment.near-none")) } }
        ul .rows {
            @for (kind, name, user, ends) in &deployment.near {
                li {
                    div { b { (name) } " " span .badge { @if *kind == "key" { (page.t("keys.key")) } @else { (page.t("deployment.token")) } } }
                    div { (user) }
                    div { (page.until(*ends)) }
                }
            }
        }
    };
    page.show(page.t("deployment.title"), body)
}

fn own(page: &Page, deployment: &Deployment) -> Markup {
    html! {
        dl .facts {
            dt { "FlowAuth" } dd { "v" (env!("CARGO_PKG_VERSION")) ", " (page.t("deployment.since")) " " (page.until(deployment.since)) }
            dt { (page.t("deployment.database")) } dd { @match deployment.database { Kind::Sqlite => "SQLite", Kind::Postgres => "PostgreSQL" } }
            @for (of, ends) in &deployment.certificates {
                dt { (page.f("deployment.certificate", &[("of", of)])) }
                dd {
                    @if let Some(ends) = ends {
                        (page.t("keys.ends")) " " (page.until(*ends))
                        @if *ends < now() + SOON { " " span .badge.bad { (page.t("deployment.soon")) } }
                    } @else { (page.t("deployment.unknown")) }
                }
            }
        }
    }
}

fn beside(page: &Page, flowapi: &FlowApi) -> Markup {
    let state = |is_well: bool| {
        html! {
            @if is_well { span .badge.good { (page.t("deployment.well")) } } @else { span .badge.bad { (page.t("deployment.away")) } }
        }
    };
    html! {
        dl .facts {
            dt { (flowapi.name.as_deref().unwrap_or("FlowAPI")) } dd { (state(flowapi.name.is_some())) }
            @for (part, is_well) in &flowapi.parts { dt { (part) } dd { (state(*is_well)) } }
        }
        h2 { (page.t("deployment.days")) }
        @match &flowapi.days {
            None => p .empty { (page.t("deployment.days-unknown")) },
            Some(kinds) if kinds.is_empty() => p .empty { (page.t("deployment.days-none")) },
            Some(kinds) => { @for (kind, days) in kinds { (calendar(page, kind, days)) } },
        }
    }
}

/// The days of a kind of data, a line a month.
fn calendar(page: &Page, kind: &str, days: &BTreeSet<String>) -> Markup {
    let mut months: BTreeMap<&str, BTreeSet<u8>> = BTreeMap::new();
    for day in days {
        if let (Some(month), Some(day)) = (day.get(..7), day.get(8..10).and_then(|day| day.parse().ok())) {
            months.entry(month).or_default().insert(day);
        }
    }
    html! {
        h3 { (kind) }
        p { (page.n("deployment.count", days.len())) }
        ul .months {
            @for (month, days) in months.iter().rev().take(MONTHS) {
                li {
                    b { (month) } " " (page.n("deployment.count", days.len())) " "
                    code aria-hidden="true" { (marks(month, days)) }
                }
            }
        }
        @if months.len() > MONTHS { p .hint { (page.n("deployment.months", MONTHS)) } }
    }
}

/// A mark for each day of a month, another where it is missing.
fn marks(month: &str, days: &BTreeSet<u8>) -> String {
    (1..=length(month)).map(|day| if days.contains(&day) { '■' } else { '·' }).collect()
}

fn length(month: &str) -> u8 {
    let (year, month) = month.split_once('-').unwrap_or_default();
    let month = month.parse().ok().and_then(|month: u8| time::Month::try_from(month).ok());
    month.zip(year.parse().ok()).map_or(31, |(month, year)| month.length(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_a_mark_for_each_of_its_days() {
        let days = [1, 2, 29].into();
        assert_eq!(marks("2016-02", &days), format!("■■{}■", "·".repeat(26)));
        assert_eq!(marks("2017-02", &[1].into()).chars().count(), 28);
        assert_eq!(marks("nonsense", &BTreeSet::new()).chars().count(), 31);
    }
}
