//! The loop of one connection: receive, parse, submit, answer, send; in whatever order they become possible.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use nbdgate_api::{Kind, Op, Payload, Reply, Sink};
use smallvec::smallvec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    accounting::{self, Ended, label_of_number},
    answer::{Answered, Answers},
    input::Input,
    queue::{Event, Queue},
    sending::Transport,
    slot::{Answer, Parts, Slot},
};
use crate::{
    export::Export,
    nbd::proto::{
        Command, MAX_STATUS_BYTES, MetaContext, MetaContexts, Parse, RawRequest, Refusal, ReplyStyle, ReplyTo, Shape,
        constants, parse_request, validate,
    },
    scheduler::{
        permits::{Budget, Permits, REQUEST_COST},
        plan::{Gather, Stream as StreamPlan},
    },
};

/// Cost of requests that are submitted before their replies are sent. Large enough to make a send worth its call, small
/// enough that the client works on the first replies while the next are made: at depth 32 a larger batch leaves
/// client and server to wait for each other.
const BATCH_COST: u32 = 32 << 10;

/// Time for a client to close its end after the gateway closed its own.
const LINGER: Duration = Duration::from_millis(500);

/// What one connection may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Cost of all requests of the gateway.
    pub total: Budget,
    /// Cost of one connection's requests.
    pub connection: u32,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client sent DISC.
    Disconnect,
    /// The client closed the socket.
    Closed,
    /// The gateway stops.
    Stopped,
    /// The client broke the protocol, and the stream cannot be followed any further.
    Protocol(String),
    /// The socket failed.
    Io(io::Error),
}

/// A connection in its transmission phase.
pub struct Connection<S> {
    stream: S,
    export: Arc<Export>,
    shape: Shape,
    bitmaps: Vec<Arc<str>>,
    queue: Arc<Queue>,
    sink: Arc<dyn Sink>,
    input: Input,
    incoming: Incoming,
    answers: Answers,
    permits: Permits,
    events: Vec<Event>,
    now: Instant,
    /// Set once no more requests are taken.
    end: Option<End>,
    /// The first failed request of a connection is worth a warning; the metrics count them all.
    warned: bool,
    /// The next request waits for permits.
    waiting: bool,
    /// Requests that the metrics have not been told of.
    started: u32,
}

/// What the next bytes are.
#[derive(Debug)]
enum Incoming {
    Header,
    Payload { to: ReplyTo, command: Command, cost: u32 },
    Drain(u64),
}

/// What parsing came to.
enum Parsed {
    /// Something was done.
    Progress,
    /// More bytes are needed.
    Starved,
    /// Permits are needed, or the batch is full.
    Blocked,
}

impl<S: Transport> Connection<S> {
    /// A connection to `export`, with requests measured by `shape`; `leftover` was received after the handshake.
    pub fn new(stream: S, export: Arc<Export>, shape: Shape, leftover: BytesMut, limits: &Limits) -> Self {
        let queue = Arc::new(Queue::new(shape.style.read_header_bytes()));
        let permits = Permits::new(export.budget().clone(), limits.total.clone(), limits.connection);
        let longest = shape.read_limit().max(MAX_STATUS_BYTES.into()) + u64::from(REQUEST_COST);
        assert!(longest <= u64::from(permits.limit()), "the limits admit no request of the maximum payload");
        Self {
            stream,
            export,
            shape,
            bitmaps: Vec::new(),
            sink: queue.clone(),
            queue,
            input: Input::new(leftover),
            incoming: Incoming::Header,
            answers: Answers::default(),
            permits,
            events: Vec::new(),
            now: Instant::now(),
            end: None,
            warned: false,
            waiting: false,
            started: 0,
        }
    }

    /// Names the dirty bitmaps among the shape's contexts, by their numbers.
    #[must_use]
    pub fn with_bitmaps(self, bitmaps: Vec<Arc<str>>) -> Self {
        let named = |context| match context {
            MetaContext::Allocation => true,
            MetaContext::Bitmap(number) => usize::from(number) < bitmaps.len(),
        };
        assert!(self.shape.contexts.iter().all(named), "every bitmap that was selected has a name");
        Self { bitmaps, ..self }
    }

    /// Where the gateway asks it to stop.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Serves until the client leaves, the gateway stops or the socket fails. Requests in flight are finished
    /// and answered first; if the socket failed they are waited for all the same, since they hold memory.
    pub async fn run(mut self) -> End {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        if matches!(end, End::Stopped) {
            self.linger().await;
        }
        end
    }

    /// Says that nothing more comes, and drops what the client still sends until it has seen that: closing a socket
    /// with unread bytes would make the kernel throw away replies that are on their way.
    async fn linger(&mut self) {
        let drain = async {
            self.stream.shutdown().await?;
            let mut void = vec![0; 4096];
            while self.stream.read(&mut void).await? > 0 {}
            io::Result::Ok(())
        };
        let _client_gone_or_slow = tokio::time::timeout(LINGER, drain).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let mut progress = self.handle_events();
            progress |= self.send(cx);
            self.stop_if_asked();
            if self.end.is_some() && self.answers.in_flight() == 0 && self.answers.output.is_empty() {
                return Poll::Ready(self.end.take().expect("checked above"));
            }
            let parsed = self.parse(cx);
            self.count_started();
            match parsed {
                Parsed::Progress => continue,
                Parsed::Starved => progress |= self.receive(cx),
                Parsed::Blocked => {}
            }
            if !progress && self.queue.sleep(cx.waker()) {
                self.rest();
                return Poll::Pending;
            }
        }
    }

    fn handle_events(&mut self) -> bool {
        let arena = self.queue.drain(&mut self.events);
        if self.events.is_empty() {
            return false;
        }
        if let Some(arena) = arena {
            self.answers.lend(arena);
        }
        self.now = Instant::now();
        let mut events = std::mem::take(&mut self.events);
        let export = self.export.clone();
        let mut ended = Ended::new(export.metrics(), self.now);
        for event in events.drain(..) {
            if let Some(answered) = self.answers.event(event, |slot| ended.piece(slot)) {
                ended.request(&answered);
                self.warn(&answered);
            }
        }
        drop(ended);
        self.answers.settle();
        accounting::chunks(self.export.metrics(), &mut self.answers.output.tally);
        self.events = events;
        true
    }

    fn warn(&mut self, answered: &Answered) {
        if let Some(error) = &answered.error
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!(
                export = %self.export.name(),
                command = ?answered.command,
                error = error.chain(),
                "request failed; further failures of this connection are only counted"
            );
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        if matches!(self.end, Some(End::Io(_) | End::Protocol(_))) {
            self.answers.output.discard();
        }
        let sent = match self.answers.output.poll_send(&mut self.stream, cx) {
            Poll::Ready(Ok(any)) => any,
            Poll::Pending => false,
            Poll::Ready(Err(error)) => {
                self.end = Some(End::Io(error));
                self.answers.output.discard();
                true
            }
        };
        let cost = self.answers.output.take_sent_cost();
        if cost > 0 {
            self.permits.give(cost);
        }
        sent || cost > 0
    }

    fn stop_if_asked(&mut self) {
        if self.queue.take_stop() && self.end.is_none() {
            self.end = Some(End::Stopped);
            self.abandon_payload();
        }
    }

    /// Gives back the permits of a write whose payload will not be read any more.
    fn abandon_payload(&mut self) {
        if let Incoming::Payload { cost, .. } = std::mem::replace(&mut self.incoming, Incoming::Header) {
            self.permits.give(cost);
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        if self.end.is_some() {
            return false;
        }
        let end = match self.input.poll_receive(&mut self.stream, cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => End::Closed,
            Poll::Ready(Ok(_)) => {
                self.now = Instant::now();
                return true;
            }
            Poll::Ready(Err(error)) => End::Io(error),
        };
        self.end = Some(end);
        self.abandon_payload();
        true
    }

    fn count_started(&mut self) {
        match std::mem::take(&mut self.started) {
            0 => {}
            count => self.export.metrics().requests_started(count),
        }
    }

    /// Takes requests from the input until it is starved, blocked, or a batch is in flight.
    fn parse(&mut self, cx: &mut Context<'_>) -> Parsed {
        let mut batch = 0;
        let mut any = false;
        while self.end.is_none() && batch < BATCH_COST {
            let step = match &mut self.incoming {
                Incoming::Header => self.parse_header(cx, &mut batch),
                Incoming::Payload { .. } => self.parse_payload(),
                Incoming::Drain(left) => {
                    *left -= self.input.skip(*left);
                    if *left > 0 {
                        Parsed::Starved
                    } else {
                        self.incoming = Incoming::Header;
                        Parsed::Progress
                    }
                }
            };
            match step {
                Parsed::Progress => any = true,
                Parsed::Starved | Parsed::Blocked if any => break,
                stuck => return stuck,
            }
        }
        if any { Parsed::Progress } else { Parsed::Blocked }
    }

    fn parse_header(&mut self, cx: &mut Context<'_>, batch: &mut u32) -> Parsed {
        let headers = self.shape.style.headers();
        let raw = match parse_request(self.input.bytes(), headers) {
            Parse::Incomplete => return Parsed::Starved,
            Parse::BadMagic => return self.violation("request has a wrong magic".into()),
            Parse::Request(raw) => raw,
        };
        let header = headers.request_bytes();
        let to = ReplyTo { style: self.shape.style, cookie: raw.cookie, offset: raw.offset };
        let (command, extra) = match validate(&raw, &self.shape) {
            Ok(Command::FilteredBlockStatus(filter)) => {
                let Some(payload) = self.input.bytes()[header..].get(..filter.payload_bytes()) else {
                    return Parsed::Starved;
                };
                (filter.read(payload, &self.shape), filter.payload_bytes())
            }
            decided => (decided, 0),
        };
        let command = match command {
            Ok(command) => command,
            Err(Refusal::Disconnect { text }) => return self.violation(text),
            Err(Refusal::Error { error, text, payload }) => {
                if !self.take_permits(REQUEST_COST, cx) {
                    return Parsed::Blocked;
                }
                *batch += REQUEST_COST;
                self.input.skip((header + extra) as u64);
                self.refuse(&raw, to, error, &text);
                self.incoming = Incoming::Drain(payload);
                return Parsed::Progress;
            }
        };
        let cost = match command {
            Command::Disc => {
                self.end = Some(End::Disconnect);
                return Parsed::Progress;
            }
            Command::Read { range, .. } | Command::Write { range, .. } => {
                REQUEST_COST + u32::try_from(range.length()).expect("at most the maximum payload")
            }
            // Its descriptors outgrow the request by far.
            Command::BlockStatus { req_one: false, contexts, .. } => REQUEST_COST + self.status_cost(contexts),
            _ => REQUEST_COST,
        };
        if !self.take_permits(cost, cx) {
            return Parsed::Blocked;
        }
        self.input.skip((header + extra) as u64);
        *batch = batch.saturating_add(cost);
        if matches!(command, Command::Write { .. }) {
            self.incoming = Incoming::Payload { to, command, cost };
        } else {
            self.submit(to, command, cost, None);
        }
        Parsed::Progress
    }

    /// What the descriptors of some contexts may take; never more than the limits admit.
    fn status_cost(&self, contexts: MetaContexts) -> u32 {
        let most = u32::try_from(self.shape.read_limit()).unwrap_or(u32::MAX).max(MAX_STATUS_BYTES);
        contexts.len().saturating_mul(MAX_STATUS_BYTES).min(most)
    }

    fn take_permits(&mut self, cost: u32, cx: &mut Context<'_>) -> bool {
        let taken = self.permits.poll_take(cost, cx).is_ready();
        if !taken && !self.waiting {
            self.export.metrics().budget_waited();
        }
        self.waiting = !taken;
        taken
    }

    fn refuse(&mut self, raw: &RawRequest, to: ReplyTo, error: Kind, text: &str) {
        tracing::debug!(export = %self.export.name(), ?raw, text, "request refused");
        if let Some(command) = label_of_number(raw.command) {
            self.export.metrics().requests_started(1);
            self.export.metrics().request_failed(command, Duration::ZERO, error);
        }
        self.answers.refuse(to, error, text, REQUEST_COST);
    }

    fn violation(&mut self, text: String) -> Parsed {
        self.end = Some(End::Protocol(text));
        Parsed::Progress
    }

    fn parse_payload(&mut self) -> Parsed {
        let Incoming::Payload { to, command: command @ Command::Write { range, .. }, cost } = self.incoming else {
            unreachable!("called while a write's payload is due")
        };
        let length = usize::try_from(range.length()).expect("at most the maximum payload");
        let Some(payload) = self.input.take_payload(length) else { return Parsed::Starved };
        self.incoming = Incoming::Header;
        self.submit(to, command, cost, Some(payload));
        Parsed::Progress
    }

    fn submit(&mut self, to: ReplyTo, command: Command, cost: u32, payload: Option<Payload>) {
        self.started += 1;
        let scheduler = self.export.scheduler();
        let step = scheduler.read_step();
        let mut slot = Slot { to, command, answer: Answer::Plain(None), cost, started: self.now, left: 1, error: None };
        let op = match command {
            Command::Read { range, df } => {
                let parts: Parts = if range.length() <= step { smallvec![range] } else { range.pieces(step).collect() };
                slot.left = u32::try_from(parts.len()).expect("a read has few pieces");
                slot.answer = if df || to.style == ReplyStyle::Simple {
                    Answer::Gather(Gather::new(range))
                } else {
                    Answer::Stream { plan: StreamPlan::new(range), parts: parts.clone(), done: false }
                };
                let mut tag = self.answers.open(slot);
                for part in parts {
                    scheduler.submit(Op::Read(part), Reply::new(self.sink.clone(), tag.to_bits()));
                    tag.part += 1;
                }
                return;
            }
            Command::Write { range, fua } => {
                let payload = payload.expect("a write comes with its payload");
                Op::Write { offset: range.offset(), payload, fua }
            }
            Command::Flush => Op::Flush,
            Command::Trim { range, fua } => Op::Trim { range, fua },
            Command::WriteZeroes { range, zeroes, fua } => Op::WriteZeroes { range, zeroes, fua },
            Command::Cache(range) => Op::Cache(range),
            Command::BlockStatus { range, req_one, contexts } => {
                slot.left = contexts.len();
                slot.answer = Answer::Status(contexts.iter().map(|_| Vec::new()).collect());
                let mut tag = self.answers.open(slot);
                for context in contexts.iter() {
                    let op = match context {
                        MetaContext::Allocation => Op::BlockStatus { range, req_one },
                        MetaContext::Bitmap(number) => {
                            let bitmap = self.bitmaps[usize::from(number)].clone();
                            Op::DirtyStatus { range, req_one, bitmap }
                        }
                    };
                    scheduler.submit(op, Reply::new(self.sink.clone(), tag.to_bits()));
                    tag.part += 1;
                }
                return;
            }
            Command::Disc | Command::FilteredBlockStatus(_) => unreachable!("never submitted"),
        };
        let tag = self.answers.open(slot);
        scheduler.submit(op, Reply::new(self.sink.clone(), tag.to_bits()));
    }

    /// Lets go of what an idle connection does not need.
    fn rest(&mut self) {
        self.input.rest();
        self.answers.output.rest();
        self.permits.rest();
    }
}

/// Parts of one read are numbered in 16 bits.
const _: () = assert!(smallest_piece_fits());

const fn smallest_piece_fits() -> bool {
    // The longest payload over the smallest piece that a backend may declare.
    u32::MAX / crate::export::MIN_READ_PIECE <= u16::MAX as u32 + 1
}

/// What a request may hold whatever the maximum payload is, an export's budget admits.
const _: () = assert!(
    constants::NBD_MIN_DF_LIMIT <= crate::export::MIN_LONGEST_REQUEST
        && MAX_STATUS_BYTES <= crate::export::MIN_LONGEST_REQUEST
);
