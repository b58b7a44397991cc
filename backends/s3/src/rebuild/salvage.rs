//! Without any checkpoint, and with gaps in the log: everything that is there, in the order of mutations.
//!
//! A moved segment shows its blocks as they were at the mutation that it names, so it is applied behind that one. What lay in
//! the gaps cannot be known: data that was overwritten or trimmed there comes back.

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use super::{report::RebuildReport, survey::Survey};
use crate::{
    Progress,
    checkpoint::Position,
    engine::{Committed, SegmentUse},
    format::{BlockRange, Head, Object, ObjectName, SegmentMeta, Seq, Writer, Wseq, ZeroRecord},
    head::Bad,
    inspect::{Inspect, slots::Slot},
    map::{SegmentKind, SegmentName},
    store::StoreError,
};

/// Heads read at once.
const PARALLEL: usize = 64;

/// A segment that can be applied.
#[derive(Clone, Copy, Debug)]
struct Piece {
    name: SegmentName,
    first: Wseq,
    last: Wseq,
    end: u64,
}

/// The end of the last block that any segment writes.
pub(super) async fn written_blocks(inspect: &Inspect, survey: &Survey) -> Result<u64, Error> {
    if survey.blocks.is_some() {
        return Ok(0);
    }
    Ok(pieces(inspect, survey).await?.iter().map(|piece| piece.end).max().unwrap_or(0))
}

/// Applies all that is there, and says what is not.
pub(super) async fn salvage(
    inspect: &Inspect,
    survey: &Survey,
    report: &mut RebuildReport,
    progress: &dyn Progress,
) -> Result<(Committed, Position), Error> {
    let mut pieces = pieces(inspect, survey).await?;
    // What a writer left behind the beginning of a later one's log was never acknowledged.
    let begins: Vec<(Writer, Wseq)> =
        pieces.iter().filter(|p| p.name.kind == SegmentKind::Log).map(|p| (p.name.writer, p.first)).collect();
    let stale = |piece: &Piece| {
        let later =
            begins.iter().filter(|(writer, _)| writer.epoch > piece.name.writer.epoch).map(|(_, first)| *first).min();
        piece.name.kind == SegmentKind::Log && later.is_some_and(|later| later <= piece.first)
    };
    pieces.retain(|piece| !stale(piece));
    pieces
        .sort_by_key(|piece| (piece.last, piece.name.kind == SegmentKind::Moved, piece.name.writer, piece.name.number));
    let template = survey.template();
    let blocks = template.blocks.max(pieces.iter().map(|piece| piece.end).max().unwrap_or(0));
    let mut committed = inspect.at_root(&template, None, blocks).await?.committed;
    let mut position = Position::default();
    (report.log_segments, report.moved_segments) = (0, 0);
    let names: Vec<SegmentName> = pieces.iter().map(|piece| piece.name).collect();
    let reads = stream::iter(names).map(|name| async move { (name, read(inspect, name).await) });
    let mut reads = reads.buffered(PARALLEL);
    while let Some((name, segment)) = reads.next().await {
        let Some((head, meta)) = segment? else { continue };
        progress.advance(u64::from(head.prelude.meta_len));
        apply(&mut committed, name, &head, &meta);
        if name.kind == SegmentKind::Moved {
            report.moved_segments += 1;
            continue;
        }
        report.log_segments += 1;
        if meta.first_wseq.0 != position.wseq.0 + 1 {
            report.unknown.push(format!(
                "mutations {} to {} are not in any log segment",
                position.wseq.0 + 1,
                meta.first_wseq.0.saturating_sub(1)
            ));
        }
        position = Position { epoch: name.writer.epoch, seq: Seq(name.number), wseq: meta.last_wseq };
    }
    if report.moved_segments > 0 {
        report.unknown.push("no checkpoint tells which moved segments were in use".to_owned());
    }
    Ok((committed, position))
}

/// Every segment whose head can be read.
async fn pieces(inspect: &Inspect, survey: &Survey) -> Result<Vec<Piece>, Error> {
    let logs = survey.logs.iter().flat_map(|(&writer, slots)| {
        slots.iter().map(move |seq| SegmentName { kind: SegmentKind::Log, owner: 0, writer, number: seq.0 })
    });
    let moved =
        survey.moved.iter().map(|&(writer, number)| SegmentName { kind: SegmentKind::Moved, owner: 0, writer, number });
    let reads = stream::iter(logs.chain(moved)).map(|name| async move {
        Ok::<_, Error>(read(inspect, name).await?.map(|(_, meta)| {
            let ends = meta.data.iter().map(|record| record.range().end().0);
            let zeros = meta.zero.iter().map(|record| record.range().end().0);
            let end = ends.chain(zeros).max().unwrap_or(0);
            Piece { name, first: meta.first_wseq, last: meta.last_wseq, end }
        }))
    });
    let pieces: Vec<Option<Piece>> = reads.buffered(PARALLEL).try_collect().await?;
    Ok(pieces.into_iter().flatten().collect())
}

/// The head of a segment; none if it cannot be read.
pub(super) async fn read(inspect: &Inspect, name: SegmentName) -> Result<Option<(Head, SegmentMeta)>, Error> {
    if let ObjectName::Log { writer, seq } = name.object() {
        return Ok(match inspect.slot(writer, seq).await? {
            Slot::Segment(segment) => Some(*segment),
            Slot::Fence | Slot::Empty | Slot::Bad(_) => None,
        });
    }
    let object = Object { volume: inspect.volume, name: name.object() };
    let sealing = inspect.store.sealing();
    let parse = |head: &bytes::Bytes| SegmentMeta::parse_object(object.name, object.volume, head, &sealing);
    match inspect.heads().examine(object, parse).await {
        Ok(segment) => Ok(Some(segment)),
        Err(Bad::Bytes(_) | Bad::Store(StoreError::NotFound(_))) => Ok(None),
        Err(bad @ Bad::Store(_)) => Err(bad.tell(&inspect.store, object)),
    }
}

fn apply(committed: &mut Committed, name: SegmentName, head: &Head, meta: &SegmentMeta) {
    let zeros: Vec<BlockRange> = meta.zero.iter().map(ZeroRecord::range).collect();
    committed.install(
        0,
        &SegmentUse {
            name,
            lblocks: meta.lblocks(),
            object_len: head.prelude.object_len(),
            meta_len: u64::from(head.prelude.meta_len),
            last_wseq: meta.last_wseq,
            layout: &meta.layout(),
            zeros: &zeros,
        },
    );
}
