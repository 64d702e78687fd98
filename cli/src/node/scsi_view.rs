//! SCSI targets of a standby in words, for the screen of `status`.

use serde_json::Value;

/// Lines of a table, each with its name.
type Lines = Vec<(String, String)>;

/// What the status of a standby says about its SCSI targets.
pub(crate) fn lines(status: &Value) -> Lines {
    let volumes = status.pointer("/volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.filter(|volume| volume["scsi"].is_object()).flat_map(of_volume).collect()
}

fn of_volume(volume: &Value) -> Lines {
    let (name, scsi) = (volume["name"].as_str().unwrap_or_default(), &volume["scsi"]);
    let mut lines = vec![(format!("{name}: device"), device(scsi))];
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            lines.push((format!("{name}: {what}"), text));
        }
    };
    line("primary's", scsi["primary"].as_str().unwrap_or("not told").to_owned());
    line("tape", tape(&volume["tape"]));
    line("differences", items(&scsi["differences"]).map(difference).collect::<Vec<_>>().join("\n"));
    line("error table", join(items(&scsi["rows"]).map(|row| counted(row["row"].as_str(), &row["count"]))));
    line("retries", join(fields(&scsi["retries"]).map(retries)));
    line("replaced", join(fields(&scsi["equivalents"]).map(|(what, count)| counted(Some(what), count))));
    line("not repeated", join(fields(&scsi["not_repeated"]).map(|(what, count)| counted(Some(what), count))));
    let redone = scsi["redone"].as_u64().filter(|count| *count > 0);
    line("lost by device", redone.map(|count| format!("{count} times")).unwrap_or_default());
    lines
}

fn device(scsi: &Value) -> String {
    let mut text = scsi["device"].as_str().unwrap_or_default().to_owned();
    if let Some(offset) = scsi.pointer("/mapping/lba_offset").and_then(Value::as_i64).filter(|offset| *offset != 0) {
        text += &format!(", moved by {offset} blocks");
    }
    if let Some(lun) = scsi.pointer("/mapping/lun").and_then(Value::as_u64) {
        text += &format!(", for LUN {lun}");
    }
    text
}

/// Where a standby's tape stands, and how often that was found to be where the primary's stood.
fn tape(tape: &Value) -> String {
    if !tape.is_object() {
        return String::new();
    }
    let count = |field: &str| tape[field].as_u64().unwrap_or(0);
    let place = match (tape["position"].as_u64(), tape["partition"].as_u64().unwrap_or(0)) {
        (None, _) => "at a position that it does not tell".to_owned(),
        (Some(position), 0) => format!("at block {position}"),
        (Some(position), partition) => format!("at block {position} of partition {partition}"),
    };
    let (compared, marks, unknown) = (count("compared"), count("marks"), count("unknown"));
    format!("{place}; where the primary's was {compared} times ({marks} at marks), {unknown} times unknown")
}

fn difference(difference: &Value) -> String {
    let text = |field: &str| difference[field].as_str().unwrap_or_default();
    let severity = match text("severity") {
        "Refuse" => "refused: ",
        "Warn" => "warning: ",
        _ => "",
    };
    format!("{severity}{}: {} there, {} here", text("name"), text("recorded"), text("here"))
}

fn retries((class, count): (&str, &Value)) -> String {
    let used_up = count["used_up"].as_u64().filter(|count| *count > 0);
    counted(Some(class), &count["retries"]) + &used_up.map(|count| format!(" ({count} used up)")).unwrap_or_default()
}

fn counted(what: Option<&str>, count: &Value) -> String {
    format!("{} {}", count.as_u64().unwrap_or(0), what.unwrap_or_default())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn fields(map: &Value) -> impl Iterator<Item = (&str, &Value)> {
    map.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scsi_target_is_put_into_words() {
        let status = json!({ "volumes": [{ "name": "plain" }, { "name": "data", "scsi": {
            "device": "QEMU DISK 2.5 (7), disk",
            "mapping": { "lba_offset": 2048, "lun": 1 },
            "primary": null,
            "differences": [{ "name": "product", "severity": "Warn", "recorded": "\"a\"", "here": "\"b\"" }],
            "rows": [{ "row": "begin-write", "count": 4 }, { "row": "good", "count": 3 }],
            "retries": { "busy": { "retries": 2, "used_up": 1 } },
            "redone": 0,
            "equivalents": { "plain writes": 5 },
            "not_repeated": {},
        } }] });
        let lines = lines(&status);
        let text =
            |what: &str| lines.iter().find(|(name, _)| *name == format!("data: {what}")).map(|(_, text)| &**text);
        assert_eq!(text("device"), Some("QEMU DISK 2.5 (7), disk, moved by 2048 blocks, for LUN 1"));
        assert_eq!(text("primary's"), Some("not told"));
        assert_eq!(text("differences"), Some("warning: product: \"a\" there, \"b\" here"));
        assert_eq!(text("error table"), Some("4 begin-write, 3 good"));
        assert_eq!(text("retries"), Some("2 busy (1 used up)"));
        assert_eq!(text("replaced"), Some("5 plain writes"));
        assert_eq!((text("not repeated"), text("lost by device"), text("tape"), lines.len()), (None, None, None, 6));
    }

    #[test]
    fn a_tape_is_put_into_words() {
        let of = |position: Value, partition: Value| {
            let counts =
                json!({ "position": position, "partition": partition, "compared": 146, "marks": 3, "unknown": 5 });
            let status = json!({ "volumes": [{ "name": "tape", "scsi": { "device": "a tape" }, "tape": counts }] });
            lines(&status).into_iter().find(|(name, _)| name == "tape: tape").expect("it has its line").1
        };
        let rest = "; where the primary's was 146 times (3 at marks), 5 times unknown";
        assert_eq!(of(json!(12), json!(0)), format!("at block 12{rest}"));
        assert_eq!(of(json!(12), json!(1)), format!("at block 12 of partition 1{rest}"));
        assert_eq!(of(json!(null), json!(null)), format!("at a position that it does not tell{rest}"));
    }
}
