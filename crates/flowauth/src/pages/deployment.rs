//! The deployment, for administrators: whether all is there, which days of data there are, what ends soon.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::Page;
use crate::caller::Access::Admin;
use crate::deployment::{Deployment, Failed, FlowApi, FlowDb};
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
    let answers = flowapi.figures.as_ref().and_then(|figures| figures.flowmachine_answers_since);
    html! {
        dl .facts {
            dt { (flowapi.name.as_deref().unwrap_or("FlowAPI")) }
            dd {
                (state(flowapi.name.is_some()))
                @if let Some(figures) = &flowapi.figures { " " (page.t("deployment.since")) " " (page.until(figures.since)) }
            }
            @for (part, is_well) in &flowapi.parts {
                dt { (part) }
                dd {
                    (state(*is_well))
                    @if let Some(since) = answers.filter(|_| part == "flowmachine") { " " (page.t("deployment.answers")) " " (page.until(since)) }
                }
            }
            @if let Some(flowdb) = flowapi.figures.as_ref().and_then(|figures| figures.flowdb.as_ref()) { (flowdb_says(page, flowdb)) }
        }
        @if let Some(figures) = &flowapi.figures { (failed(page, &figures.failed)) }
        h2 { (page.t("deployment.days")) }
        @match &flowapi.days {
            None => p .empty { (page.t("deployment.days-unknown")) },
            Some(kinds) if kinds.is_empty() => p .empty { (page.t("deployment.days-none")) },
            Some(kinds) => { @for (kind, days) in kinds { (calendar(page, kind, days)) } },
        }
    }
}

fn flowdb_says(page: &Page, flowdb: &FlowDb) -> Markup {
    let (cache, most) = (&flowdb.cache, flowdb.cache.most.map(size));
    let (results, bytes) = (page.n("deployment.results", cache.results as usize), size(cache.bytes));
    html! {
        dt { "FlowDB" } dd { (size(flowdb.bytes)) ", " (page.t("deployment.since")) " " (page.until(flowdb.since)) }
        dt { (page.t("deployment.cache")) }
        dd {
            @match most {
                Some(most) => (page.f("deployment.cache-of", &[("results", &results), ("bytes", &bytes), ("most", &most)])),
                None => { (results) ", " (bytes) },
            }
        }
        dt { (page.t("deployment.running")) } dd { (flowdb.running) }
    }
}

fn failed(page: &Page, queries: &[Failed]) -> Markup {
    html! {
        h3 { (page.t("deployment.failed")) }
        @if queries.is_empty() { p .empty { (page.t("deployment.failed-none")) } }
        ul .rows {
            @for query in queries {
                li {
                    div { b { (query.query_kind.as_deref().unwrap_or_default()) } }
                    div { code { (query.query_id) } }
                    div { (page.until(query.at)) }
                }
            }
        }
    }
}

/// Bytes in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    let whole = bytes as f64 / f64::from(power * 10).exp2();
    if power == 0 { format!("{bytes} B") } else { format!("{whole:.1} {}", units[power as usize]) }
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
    fn sizes_are_said_in_their_largest_unit() {
        for (bytes, said) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 40, "8.0 TiB"), (u64::MAX, "16777216.0 TiB")]
        {
            assert_eq!(size(bytes), said);
        }
    }

    #[test]
    fn a_month_has_a_mark_for_each_of_its_days() {
        let days = [1, 2, 29].into();
        assert_eq!(marks("2016-02", &days), format!("■■{}■", "·".repeat(26)));
        assert_eq!(marks("2017-02", &[1].into()).chars().count(), 28);
        assert_eq!(marks("nonsense", &BTreeSet::new()).chars().count(), 31);
    }
}
