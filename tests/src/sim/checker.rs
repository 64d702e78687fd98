//! What must hold, whatever happened.

use formats::wire::DataState;
use formats::{ByteRange, Position, VolumeIndex};
use replication::dirty::DirtyMap;
use replication::primary::Covered;

use super::kernel::{BLOCK, Content, History, Kernel, Known};
use super::standby::StandbyHost;

/// Whether `content` is one that the primary could have had after a power cut, in boot `boot` and not before the
/// completion `applied`: whatever a command in it depends on is in it, too.
pub(super) fn is_possible(history: &History, content: &Content, boot: u64, applied: u64) -> Result<(), String> {
    let held = |volume: usize, block: usize| {
        let tag = content[volume][block];
        let touch = history.touches[volume][block].iter().find(|touch| touch.tag == tag && tag != 0);
        touch.map(|touch| &history.commands[touch.command as usize]).filter(|command| command.boot == boot)
    };
    let blocks = || content.iter().enumerate().flat_map(|(v, blocks)| (0..blocks.len()).map(move |b| (v, b)));
    let depends = blocks().filter_map(|(volume, block)| held(volume, block)).map(|command| command.dep);
    holds_all(history, content, boot, depends.fold(applied, u64::max), |_, _| false)
}

/// Whether `content` has everything up to completion `bound` of boot `boot`, and perhaps more, in all blocks that are not
/// excused.
fn holds_all(
    history: &History,
    content: &Content,
    boot: u64,
    bound: u64,
    excused: impl Fn(usize, usize) -> bool,
) -> Result<(), String> {
    let blocks = content.iter().enumerate().flat_map(|(volume, blocks)| (0..blocks.len()).map(move |b| (volume, b)));
    for (volume, block) in blocks.filter(|(volume, block)| !excused(*volume, *block)) {
        let touches = &history.touches[volume][block];
        let must = touches.iter().rposition(|touch| {
            let command = &history.commands[touch.command as usize];
            let seq = command.seq.filter(|seq| command.boot < boot || (command.boot == boot && *seq <= bound));
            seq.is_some()
        });
        let tag = content[volume][block];
        if !touches[must.unwrap_or(0)..].iter().any(|touch| touch.tag == tag) {
            return Err(format!(
                "block {block} of volume {volume} holds {tag}, but everything up to seq {bound} of boot {boot} must be \
                 there: {:?}",
                &touches[must.unwrap_or(0)..]
            ));
        }
    }
    Ok(())
}

/// Law 2: a standby that says "consistent" is. Answers whether it said so. What its device has not told anybody yet, it
/// cannot know.
pub(super) fn check_consistency(kernel: &Kernel, standby: &StandbyHost) -> Result<bool, String> {
    if standby.is_unheard() || standby.data_state() != DataState::Consistent {
        return Ok(false);
    }
    let status = standby.engine.status();
    let possible = is_possible(&kernel.history, standby.content(), status.stream.0, status.applied.seq.0);
    possible.map(|()| true).map_err(|why| format!("it says consistent at {status:?}, but {why}"))
}

/// Law 3: what was freed is held by the standby, or its saved map stands for it.
pub(super) fn check_freed(freed: Position, held: Position, covered: Option<Covered>) -> Result<(), String> {
    let stands_for = covered.map_or(Position(0), |covered| covered.through);
    if freed <= held.max(stands_for) {
        return Ok(());
    }
    Err(format!("everything up to {freed} was freed, but it holds {held} and its map stands for {stands_for}"))
}

/// Law 1: where the standby differs, even with all of its journal applied, somebody knows.
pub(super) fn check_nothing_silent(kernel: &Kernel, standby: &StandbyHost, known: &DirtyMap) -> Result<(), String> {
    let content = standby.content_with_journal()?;
    for (volume, blocks) in content.iter().enumerate() {
        for (block, tag) in blocks.iter().enumerate() {
            let range = ByteRange::new(block as u64 * BLOCK, BLOCK);
            let there = kernel.disk[volume][block];
            if *tag != there && !known.contains(VolumeIndex(volume as u16), range) {
                return Err(format!(
                    "block {block} of volume {volume} is {there} on the primary and {tag} on the standby, and neither \
                     the journal nor a dirty map knows; its last writers: {:?}",
                    last_writers(&kernel.history, volume, block)
                ));
            }
        }
    }
    Ok(())
}

/// Law 8: what was waited for stays, whatever becomes of the standby, but for what its own device did not take: of that it
/// knows.
pub(super) fn check_held(kernel: &Kernel, standby: &StandbyHost, held: u64) -> Result<(), String> {
    let is_hole = |volume: usize, block: usize| {
        let range = ByteRange::new(block as u64 * BLOCK, BLOCK);
        let mut holes = standby.engine.holes().iter();
        holes.any(|(hole, _)| usize::from(hole.volume.0) == volume && hole.range.overlaps(range))
    };
    let kept = holds_all(&kernel.history, &standby.content_with_journal()?, kernel.boot, held, is_hole);
    kept.map_err(|why| format!("a wait for seq {held} has ended, but {why}"))
}

/// The last commands that touched a block, for a failure's text.
fn last_writers(history: &History, volume: usize, block: usize) -> Vec<(u64, Known)> {
    let touches = history.touches[volume][block].iter().rev().take(4);
    touches.map(|touch| (touch.tag, history.commands[touch.command as usize])).collect()
}
