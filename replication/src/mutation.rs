//! Deliberate faults of the engines, one at a time. The simulator must notice each of them: a checker that passes a broken
//! engine checks nothing. Without the feature `mutations` there are none, and nothing of this is left in the code.

macro_rules! mutations {
    ($($name:ident: $what:literal,)*) => {
        /// A fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(not(feature = "mutations"), allow(unreachable_pub))]
        pub enum Mutation {
            $(#[doc = $what] $name,)*
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it does wrong, in words.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

mutations! {
    ClearUnsaved: "the journal frees what only a map covers that is not saved",
    ClearOneEarly: "the journal frees one entry more than the secondary holds",
    FastestGivesWay: "when the journal is full, whoever is furthest ahead gives way",
    ForgetUnsavedHoles: "the journal frees an entry that left a hole before its marks are saved",
    TrustReceipt: "what the secondary has received counts as durable there",
    ForgetFlight: "regions in flight are forgotten when the link breaks",
    ResumeOneLate: "a session goes on one entry too late",
    NoCut: "after an overflow the stream goes on as if nothing was skipped",
    CutUnsaved: "a cut is sent before the map that covers it is saved",
    EntriesAmongRegions: "entries are sent between reading regions and sending them",
    RegionsTooSoon: "a region does not wait for the records before its mark",
    HolesUnmarked: "an entry that leaves a hole marks nothing",
    OverflowUnmarked: "what a full journal drops is not marked",
    FollowerUnmarked: "a secondary that follows by its map does not mark what is appended for the others",
    JoinAsIfEqual: "a secondary of which nothing is known counts as equal",
    AcknowledgeUnsynced: "the standby acknowledges as durable what it has only received",
    ApplyUnsynced: "the standby applies what is not durable in its journal",
    SkipDependencies: "the standby applies an entry before what it depends on",
    CheckpointAhead: "the standby's checkpoint passes entries that are still at work",
    CheckpointHasty: "the standby saves a checkpoint before commands that ran during its flush were answered",
    HealTooEarly: "a write that was begun before a flush failed heals the hole that it left",
    HideHoles: "the standby says consistent while its own device did not take something",
    HoldWhatIsSent: "a wait for the secondary ends when all is sent, durable or not",
    ClearEpochsEarly: "an epoch of the kernel's map is cleared before its commands are durable",
}

/// Whether this fault is to be made.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
mod active {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Mutation;

    /// One more than the fault's place; 0 for none.
    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// From now on this fault is made, and no other.
    pub fn set(mutation: Option<Mutation>) {
        ACTIVE.store(mutation.map_or(0, |mutation| mutation as u8 + 1), Ordering::Relaxed);
    }

    pub(crate) fn is(mutation: Mutation) -> bool {
        ACTIVE.load(Ordering::Relaxed) == mutation as u8 + 1
    }
}

#[cfg(feature = "mutations")]
pub(crate) use active::is;
#[cfg(feature = "mutations")]
pub use active::set;
