//! One connection to PostgreSQL, on which every question has a deadline.
//!
//! It blocks, as everything here does. Beneath is `tokio-postgres`, and not the `postgres` crate around it: that one waits
//! for an answer as long as the server's machine is there, however long the server hangs, and sends nothing before the
//! answer to what was sent before. A turn would take twice the round trips.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Statement};

use super::error::Problem;
use super::place::Place;

type Messages = dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, Error>>> + Send;

pub struct Link {
    database: Database,
    messages: Box<Messages>,
    heard: Heard,
    /// It is closed, or an answer is late and would be taken for the next one.
    broken: bool,
    runtime: Runtime,
}

/// What questions are put to.
pub struct Database {
    client: Client,
    prepared: RefCell<HashMap<&'static str, Statement>>,
}

/// What the server says without being asked.
#[derive(Default)]
struct Heard {
    warning: Option<String>,
    /// What other connections have said on the channels that this one listens to.
    notified: Vec<String>,
    closed: Option<Error>,
}

impl Link {
    /// Connects, by the deadline.
    pub fn open(place: &Place, deadline: Instant) -> Result<Self, Problem> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, messages) = runtime.block_on(async {
            let connect = async {
                match &place.tls {
                    Some(tls) => place.config.connect(tls.clone()).await.map(driven),
                    None => place.config.connect(NoTls).await.map(driven),
                }
            };
            timeout(left(deadline), connect).await.map_err(|_| Problem::Slow)?.map_err(Problem::Unreachable)
        })?;
        let database = Database { client, prepared: RefCell::default() };
        Ok(Self { database, messages, heard: Heard::default(), broken: false, runtime })
    }

    pub fn is_broken(&self) -> bool {
        self.broken || self.heard.closed.is_some() || self.database.client.is_closed()
    }

    /// Asks, and waits for the answer until the deadline.
    pub fn ask<T>(
        &mut self,
        deadline: Instant,
        question: impl AsyncFnOnce(&Database) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let Self { database, messages, heard, broken, runtime } = self;
        let answered = runtime.block_on(async {
            let mut question = pin!(question(database));
            let answer = poll_fn(|context| {
                heard.hear(messages, context);
                question.as_mut().poll(context)
            });
            timeout(left(deadline), answer).await
        });
        let answer = answered.unwrap_or_else(|_| {
            *broken = true;
            Err(Problem::Slow)
        });
        // Why the connection was closed says more than that it was.
        match (answer, heard.closed.take()) {
            (Err(Problem::Failed(error)), Some(why)) if error.is_closed() => {
                *broken = true;
                Err(Problem::Failed(why))
            }
            (answer, closed) => {
                heard.closed = closed;
                answer
            }
        }
    }

    /// What the server has warned of since this was asked last.
    pub fn take_warning(&mut self) -> Option<String> {
        self.heard.warning.take()
    }

    /// Waits until another connection has said something, at most for `within`. Returns all of it.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn listen(&mut self, within: Duration) -> Result<Vec<String>, Problem> {
        let Self { messages, heard, runtime, .. } = self;
        let said = poll_fn(|context| {
            heard.hear(messages, context);
            if let Some(why) = heard.closed.take() {
                return Poll::Ready(Err(Problem::Failed(why)));
            }
            if heard.notified.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
        });
        let said = runtime.block_on(async { timeout(within, said).await });
        if let Ok(Err(problem)) = said {
            self.broken = true;
            return Err(problem);
        }
        Ok(std::mem::take(&mut self.heard.notified))
    }
}

impl Database {
    /// A statement of this connection, prepared with its first use.
    pub async fn prepared(&self, sql: &'static str) -> Result<Statement, Error> {
        let known = self.prepared.borrow().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.prepared.borrow_mut().insert(sql, statement.clone());
        Ok(statement)
    }
}

impl std::ops::Deref for Database {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Heard {
    /// Takes what has come. It also sends what was asked, and hands out the answers.
    fn hear(&mut self, messages: &mut Messages, context: &mut Context<'_>) {
        while self.closed.is_none() {
            match messages(context) {
                Poll::Pending | Poll::Ready(None) => return,
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => self.notice(&notice),
                Poll::Ready(Some(Ok(AsyncMessage::Notification(it)))) => {
                    self.notified.push(it.payload().to_owned());
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => self.closed = Some(error),
            }
        }
    }

    fn notice(&mut self, notice: &DbError) {
        if notice.parsed_severity() == Some(Severity::Warning) || notice.severity() == "WARNING" {
            self.warning = Some(notice.message().to_owned());
        }
    }
}

fn driven<S, T>((client, mut connection): (Client, Connection<S, T>)) -> (Client, Box<Messages>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    (client, Box::new(move |context| connection.poll_message(context)))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
