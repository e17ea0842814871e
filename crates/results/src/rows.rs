//! The stream, from the query to the last byte.

use std::borrow::Borrow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, CopyOutStream, NoTls};

use crate::arrow::Arrow;
use crate::columns::{self, Column, Sent};
use crate::csv::Csv;
use crate::encode::{Encode, Fault};
use crate::fgb::FlatGeobuf;
use crate::json::Json;
use crate::parquet::Parquet;
use crate::wire::{self, Malformed};
use crate::{Error, Format};

/// What is handed on at once: large enough that its way through HTTP costs little beside its making, small enough that a
/// hundred streams take a few MiB.
const CHUNK: usize = 64 << 10;
/// Room beyond, so that the row that fills a chunk rarely moves it.
const SPARE: usize = 8 << 10;
/// Longest that rows wait for a chunk to fill while PostgreSQL has no more of them.
const PATIENCE: Duration = Duration::from_millis(100);

/// Longest that a connection which is given up may take to come free.
const DRAIN: Duration = Duration::from_secs(10);

/// A connection that is lent for one result: a [`Client`], or what a pool lends.
pub trait Lent: Borrow<Client> + Send + Sync + 'static {
    /// Asks PostgreSQL to stop the query; whether it has been told. Whoever has not opened the connection by
    /// `tokio_postgres::connect` has to say how: the library knows the address of no other.
    fn cancel(&self) -> impl Future<Output = bool> + Send {
        let token = self.borrow().cancel_token();
        async move { token.cancel_query(NoTls).await.is_ok() }
    }

    /// Lets go of the connection, which does not come free: it is used no more.
    fn abandon(self)
    where
        Self: Sized,
    {
    }
}

impl Lent for Client {}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// One query, without a semicolon and without parameters. It is run as it is: whoever lets a user write it has lost.
    pub sql: &'a str,
    /// The type of file.
    pub format: Format,
    /// The id that [`Format::Json`] says before the rows.
    pub query_id: &'a str,
    /// The longest that PostgreSQL may take, the client's reading included; none when not given.
    pub timeout: Option<Duration>,
}

/// A file in the making: a stream of its bytes.
///
/// Nothing is read ahead of who takes it but what the sockets hold and one chunk. An error is the stream's last item: what came
/// before it is a torn file, and whoever passes it on must not end as if it were whole. When this is dropped early the query is
/// cancelled; the connection comes free, for whoever waits for `C` to be dropped, when PostgreSQL has let go of it, or is abandoned
/// after 10 s.
pub struct Rows<C: Lent> {
    lease: Lease<C>,
    columns: Vec<Column>,
    encoder: Box<dyn Encode>,
    out: Vec<u8>,
    /// Rows so far.
    count: u64,
    handed_on: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The signature has not been seen.
    Head,
    Rows,
    /// The mark at the end has been seen.
    Mark,
    Ended,
}

/// Runs a query and waits for its first row, or its end: what fails at once is an error here, before anything is sent.
///
/// The connection is used by nothing else until the stream has ended and `client` been dropped: It runs in a read-only transaction that is rolled back. Needs tokio's runtime.
pub async fn open<C>(client: C, query: &Query<'_>) -> Result<Rows<C>, Error>
where
    C: Lent,
{
    let mut lease = Lease { client: Some(client), busy: true, copy: None };
    let milliseconds = query.timeout.map_or(0, |timeout| timeout.as_millis().clamp(1, i32::MAX as u128));
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {milliseconds}");
    let connection = lease.client();
    // Sent together, answered in order.
    let asked = future::join(connection.batch_execute(&begin), connection.prepare(query.sql)).await;
    let columns = match asked {
        (Ok(()), Ok(statement)) => columns::of(&statement),
        (Err(error), _) => return Err(lease.failed("beginning a transaction", error)),
        (_, Err(error)) => return Err(lease.failed("preparing the query of a result", error)),
    };
    let sent = match query.format {
        Format::GeoParquet | Format::FlatGeobuf if columns::is_feature(&columns) => {
            match lease.client().query(&columns::properties(query.sql), &[]).await {
                Ok(rows) => {
                    let properties: Vec<_> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                    columns::feature(query.sql, &columns, &properties)
                }
                Err(error) => return Err(lease.failed("asking for the properties of a result", error)),
            }
        }
        Format::GeoParquet | Format::FlatGeobuf => {
            lease.ended();
            return Err(Error::NotFeatures);
        }
        _ => Sent { copy: columns::copy(query.sql, &columns), columns },
    };
    let Sent { columns, copy } = sent;
    match lease.client().copy_out(&copy).await {
        Ok(copy) => lease.copy = Some(Box::pin(copy)),
        Err(error) => return Err(lease.failed("running the query of a result", error)),
    }

    let mut out = Vec::with_capacity(CHUNK + SPARE);
    let encoder: Box<dyn Encode> = match query.format {
        Format::Json => Box::new(Json::begin(&columns, Some(query.query_id), &mut out)),
        Format::GeoJson => Box::new(Json::begin(&columns, None, &mut out)),
        Format::Csv => Box::new(Csv::begin(&columns)),
        Format::Arrow => Box::new(Arrow::begin(&columns, &mut out).map_err(|fault| refused(&columns, 0, fault))?),
        Format::Parquet | Format::GeoParquet => {
            let of_features = query.format == Format::GeoParquet;
            Box::new(Parquet::begin(&columns, of_features).map_err(|fault| refused(&columns, 0, fault))?)
        }
        Format::FlatGeobuf => Box::new(FlatGeobuf::begin(&columns, &mut out)),
    };
    let mut rows = Rows { lease, columns, encoder, out, count: 0, handed_on: Instant::now(), state: State::Head };
    while rows.count == 0 && rows.state != State::Ended {
        let message = rows.lease.copy().next().await;
        rows.receive(message)?;
    }
    Ok(rows)
}

/// An encoder's fault, with the names that it does not know.
fn refused(columns: &[Column], row: u64, fault: Fault) -> Error {
    match fault {
        Fault::Field(column) => {
            let Column { name, scalar, .. } = &columns[column];
            Error::Malformed { column: name.clone(), row, expected: scalar.name() }
        }
        Fault::Writer(source) => Error::Writer { row, source },
    }
}

impl<C: Lent> Rows<C> {
    /// Rows that have been taken from PostgreSQL so far.
    pub fn taken(&self) -> u64 {
        self.count
    }

    /// Takes the next message of the COPY, or its end.
    fn receive(&mut self, message: Option<Result<Bytes, tokio_postgres::Error>>) -> Result<(), Error> {
        let Some(message) = message else {
            self.lease.ended();
            // The server says that it is done by the mark and by the protocol; a stream without the mark is torn.
            if self.state != State::Mark {
                return Err(Error::Copy { row: self.count });
            }
            self.state = State::Ended;
            return self.encoder.finish(&mut self.out).map_err(|fault| self.fault(fault));
        };
        let message = message.map_err(|error| self.lease.failed("sending the rows of a result", error))?;
        let mut bytes = &message[..];
        if self.state == State::Head {
            wire::head(&mut bytes).map_err(|Malformed| Error::Copy { row: 0 })?;
            self.state = State::Rows;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if !wire::row(&mut bytes, self.columns.len()).map_err(|Malformed| Error::Copy { row: self.count })? {
            self.state = State::Mark;
            return Ok(());
        }
        self.count += 1;
        self.encoder.row(bytes, &mut self.out).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> Error {
        refused(&self.columns, self.count, fault)
    }

    /// What is ready, as the next item.
    fn hand_on(&mut self) -> Poll<Option<Result<Bytes, Error>>> {
        self.handed_on = Instant::now();
        let next = if self.state == State::Ended { Vec::new() } else { Vec::with_capacity(CHUNK + SPARE) };
        Poll::Ready(Some(Ok(std::mem::replace(&mut self.out, next).into())))
    }
}

// Nothing in it is pinned in place.
impl<C: Lent> Unpin for Rows<C> {}

impl<C: Lent> Stream for Rows<C> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rows = self.get_mut();
        loop {
            if rows.out.len() >= CHUNK {
                return rows.hand_on();
            }
            if rows.state == State::Ended {
                return if rows.out.is_empty() { Poll::Ready(None) } else { rows.hand_on() };
            }
            let message = match rows.lease.copy().poll_next_unpin(context) {
                Poll::Ready(message) => message,
                // A query that is slow to make rows: what there is goes out.
                Poll::Pending if !rows.out.is_empty() && rows.handed_on.elapsed() > PATIENCE => return rows.hand_on(),
                Poll::Pending => return Poll::Pending,
            };
            if let Err(error) = rows.receive(message) {
                rows.out.clear();
                rows.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

/// A connection in use, and what it sends.
struct Lease<C: Lent> {
    /// Gone only while this is dropped.
    client: Option<C>,
    /// Whether PostgreSQL is at work for us.
    busy: bool,
    copy: Option<Pin<Box<CopyOutStream>>>,
}

impl<C: Lent> Lease<C> {
    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is there until this is dropped").borrow()
    }

    fn copy(&mut self) -> &mut Pin<Box<CopyOutStream>> {
        self.copy.as_mut().expect("it has begun and not ended")
    }

    fn ended(&mut self) {
        self.busy = false;
        self.copy = None;
    }

    /// PostgreSQL has said no, and is idle again.
    fn failed(&mut self, doing: &'static str, source: tokio_postgres::Error) -> Error {
        self.ended();
        Error::Database { doing, source }
    }
}

impl<C: Lent> Drop for Lease<C> {
    fn drop(&mut self) {
        // Where there is no runtime any more the connection is gone with it.
        let (Some(client), Ok(runtime)) = (self.client.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(give_back(client, self.busy, self.copy.take()));
    }
}

/// Leaves a connection as it was found, or closed where that can't be known.
async fn give_back<C: Lent>(lent: C, busy: bool, copy: Option<Pin<Box<CopyOutStream>>>) {
    if tokio::time::timeout(DRAIN, settle(&lent, busy, copy)).await.is_err() {
        lent.abandon();
    }
}

async fn settle<C: Lent>(lent: &C, busy: bool, copy: Option<Pin<Box<CopyOutStream>>>) {
    let idle = !busy || cancel(lent, copy).await;
    let client: &Client = lent.borrow();
    if !idle || client.batch_execute("ROLLBACK").await.is_err() {
        // Closes it from the other end, which whoever lent it sees by `Client::is_closed`. The answer is that it is gone, and
        // its end is seen a moment later.
        let _ = client.batch_execute("ROLLBACK; SELECT pg_terminate_backend(pg_backend_pid())").await;
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Stops a query. Whether the server's signal to stop has been used up: one that is still on its way would hit the connection's
/// next query.
async fn cancel<C: Lent>(lent: &C, copy: Option<Pin<Box<CopyOutStream>>>) -> bool {
    // A cancel that fails leaves the rest of the rows to be read off.
    let asked = lent.cancel().await;
    let Some(mut copy) = copy else { return false };
    while let Some(message) = copy.next().await {
        if let Err(error) = message {
            return error.code() == Some(&SqlState::QUERY_CANCELED);
        }
    }
    !asked
}
