//! What a person has to know of a sample before its DAG runs: said on stderr, and beside what was found in the DAG.

use etl::{Guess, Misfit, Type, Writing};

use super::new::shortened;

/// A line each. `fields` are the columns of the foreign table.
pub(super) fn of(guess: &Guess, fields: &[String]) -> Vec<String> {
    let misfits = guess.columns.iter().zip(fields).filter_map(|(column, field)| {
        let misfit = column.misfit.as_ref()?;
        Some(left_out(&column.name, field, misfit))
    });
    let of_the_file = [encoding, doubt, mark, nameless, uneven, end].into_iter().filter_map(|remark| remark(guess));
    misfits.chain(of_the_file).collect()
}

fn left_out(name: &str, field: &str, Misfit { column, value, wrong }: &Misfit) -> String {
    let sql = column.sql();
    let such_as = match column.r#type {
        Type::Numeric | Type::Digits8 | Type::Boolean => {
            format!(", such as NULLIF({field}, 'n/a')::{sql} or replace({field}, ',', '.')::{sql}")
        }
        _ => String::new(),
    };
    format!(
        "column {} is left out, since its value {} {wrong}: if it is FlowDB's {}, have extract_sql make that of it{such_as}",
        shortened(name),
        shortened(value),
        column.name
    )
}

fn encoding(guess: &Guess) -> Option<String> {
    let encoding = guess.encoding?;
    let is_marked = encoding.name().starts_with("UTF-16");
    let (is, name) = if is_marked { ("", "UTF-16") } else { ("perhaps ", encoding.name()) };
    Some(format!(
        "its text is not UTF-8 ({is}{name}), and create_dag's `encoding` does not work: have program=\"iconv -f {name} -t UTF-8\" read plain files, \
         or load them with `flowkit etl load`"
    ))
}

/// What can't be told by the sample.
fn doubt(guess: &Guess) -> Option<String> {
    let (Some(Writing::Pattern(taken)), Some(Writing::Pattern(other))) = (&guess.writing, &guess.doubt) else {
        return None;
    };
    Some(format!("its times can be read as {taken}, which was taken, and as {other}: which of them is right?"))
}

/// What FlowDB's server takes for a part of the first value.
fn mark(guess: &Guess) -> Option<String> {
    let is_read = guess.is_marked && guess.encoding.is_none() && !guess.header;
    is_read.then(|| {
        "it begins with a byte order mark, which a DAG takes for a part of the first value: have program=\"tail -c +4\" read plain files, \
          or load them with `flowkit etl load`"
            .to_owned()
    })
}

fn nameless(guess: &Guess) -> Option<String> {
    let is_last = guess.columns.last().is_some_and(|column| column.name.is_empty());
    is_last.then(|| "its header ends with a delimiter: the column after that has no name, and is left out".to_owned())
}

fn uneven(guess: &Guess) -> Option<String> {
    (guess.uneven > 0).then(|| {
        format!(
            "{} of the rows that were looked at have not the {} fields of the first line (a delimiter at the end makes one more): FlowDB's server ends the \
             run at such a row, and `flowkit etl load` refuses it",
            guess.uneven,
            guess.columns.len()
        )
    })
}

fn end(guess: &Guess) -> Option<String> {
    guess.has_end.then(|| {
        "a line of it is `\\.`, which FlowDB's server takes for the end of the data, and what follows is not loaded, without a word: take such lines \
         out of the files, or load them with `flowkit etl load`, which refuses that line alone"
            .to_owned()
    })
}
