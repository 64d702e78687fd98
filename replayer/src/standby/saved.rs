//! Between the engine's state and its bytes in the checkpoint.

use formats::state::{ContentFlags, StandbyRecord, StateVolume};
use formats::{Position, Seq, StreamId};
use replication::consistency::ConsistencyState;
use replication::standby::{StandbyState, StreamVolume};

use super::config::StandbyConfig;

/// The bytes' form of `state`; the targets' paths are added so that a later start finds the same ones.
pub(super) fn to_record(state: &StandbyState, config: &StandbyConfig) -> StandbyRecord {
    let mut content = ContentFlags::empty();
    content.set(ContentFlags::BLANK, state.consistency.blank);
    content.set(ContentFlags::OWES_REGION, state.consistency.owes_region);
    StandbyRecord {
        stream: state.stream.0,
        position: state.position.0,
        local_index: state.local_index,
        applied_seq: state.applied_seq.0,
        content_bits: content.bits(),
        consistent_after: state.consistency.consistent_after.0,
        volumes: state.volumes.iter().map(|volume| to_volume(volume, config)).collect(),
    }
}

fn to_volume(volume: &StreamVolume, config: &StandbyConfig) -> StateVolume {
    StateVolume {
        name: volume.name.as_str().into(),
        target: config.kept_on(&volume.name).map(|target| target.as_str().into()).unwrap_or_default(),
        size: volume.size,
        block_size: volume.block_size,
    }
}

/// The engine's form of `record`, but for the holes, which lie beside it.
pub(super) fn from_record(record: &StandbyRecord) -> StandbyState {
    let volume =
        |v: &StateVolume| StreamVolume { name: v.name.to_string_lossy(), size: v.size, block_size: v.block_size };
    StandbyState {
        stream: StreamId(record.stream),
        position: Position(record.position),
        local_index: record.local_index,
        applied_seq: Seq(record.applied_seq),
        consistency: ConsistencyState {
            owes_region: record.content().contains(ContentFlags::OWES_REGION),
            consistent_after: Seq(record.consistent_after),
            blank: record.content().contains(ContentFlags::BLANK),
        },
        volumes: record.volumes.iter().map(volume).collect(),
        holes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let config = StandbyConfig::new("x", "/d".into(), vec![("a".into(), "/t".into())]);
        for (owes_region, blank) in [(false, false), (true, false), (true, true)] {
            let state = StandbyState {
                stream: StreamId(1),
                position: Position(2),
                local_index: 3,
                applied_seq: Seq(4),
                consistency: ConsistencyState { owes_region, consistent_after: Seq(5), blank },
                volumes: vec![StreamVolume { name: "a".into(), size: 6, block_size: 512 }],
                holes: Vec::new(),
            };
            let record = to_record(&state, &config);
            assert_eq!(record.volumes[0].target.to_string_lossy(), "/t");
            assert_eq!(from_record(&record), state);
        }
    }
}
