//! The smallest set of things that still fails: delta debugging (Zeller, Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002).

/// Whether a subset fails; nothing when it is to end.
pub(super) type Fails<'a, T, E> = dyn FnMut(&[T]) -> Result<Option<bool>, E> + 'a;

/// A subset of `items` that fails and of which nothing can be left out one by one. `fails` answers whether a subset does, or
/// nothing when it is to end: then what was found so far is the answer. All of `items` must fail.
pub(super) fn minimise<T: Clone, E>(items: Vec<T>, fails: &mut Fails<'_, T, E>) -> Result<Vec<T>, E> {
    let mut items = items;
    // Often it is none of them.
    if items.is_empty() || fails(&[])? == Some(true) {
        return Ok(Vec::new());
    }
    let mut parts = 2;
    while items.len() >= 2 {
        match smaller(&items, parts, fails)? {
            Found::Smaller(found, next) => (items, parts) = (found, next.max(2)),
            Found::Nothing if parts >= items.len() => break,
            Found::Nothing => parts = (parts * 2).min(items.len()),
            Found::End => break,
        }
    }
    Ok(items)
}

enum Found<T> {
    /// These fail; go on with so many parts.
    Smaller(Vec<T>, usize),
    Nothing,
    End,
}

/// Tries each part alone, then all without it.
fn smaller<T: Clone, E>(items: &[T], parts: usize, fails: &mut Fails<'_, T, E>) -> Result<Found<T>, E> {
    let size = items.len().div_ceil(parts);
    let chunks: Vec<(usize, &[T])> = items.chunks(size).enumerate().map(|(at, chunk)| (at * size, chunk)).collect();
    for (_, chunk) in &chunks {
        match fails(chunk)? {
            Some(true) => return Ok(Found::Smaller(chunk.to_vec(), 2)),
            Some(false) => {}
            None => return Ok(Found::End),
        }
    }
    // With two parts, the rest is the other part.
    for (from, chunk) in chunks.iter().filter(|_| chunks.len() > 2) {
        let rest = [&items[..*from], &items[from + chunk.len()..]].concat();
        match fails(&rest)? {
            Some(true) => return Ok(Found::Smaller(rest, parts - 1)),
            Some(false) => {}
            None => return Ok(Found::End),
        }
    }
    Ok(Found::Nothing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(count: u32, fails: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        minimise((0..count).collect(), &mut |items| Ok::<_, ()>(Some(fails(items)))).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_needed_is_found(count in 1u32..60, a: u32, b: u32) {
            let (a, b) = (a % count, b % count);
            let mut want = vec![a, b];
            want.sort_unstable();
            want.dedup();
            prop_assert_eq!(run(count, |items| items.contains(&a) && items.contains(&b)), want);
        }

        #[test]
        fn nothing_can_be_left_out(count in 1u32..40, limit in 1usize..10) {
            // Any so many fail: what is left is exactly so many.
            let limit = limit.min(count as usize);
            prop_assert_eq!(run(count, |items| items.len() >= limit).len(), limit);
        }
    }

    #[test]
    fn it_may_be_none_of_them_and_may_end_early() {
        assert_eq!(run(9, |_| true), Vec::<u32>::new());
        let mut left = 3;
        let early = minimise((0..32).collect(), &mut |items: &[u32]| {
            left -= 1;
            Ok::<_, ()>((left > 0).then(|| items.contains(&31) && items.contains(&0)))
        });
        assert_eq!(early.unwrap().len(), 32, "what was found so far still fails");
    }
}
