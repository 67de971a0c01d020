//! Every format, on a few lines.
#![allow(clippy::unwrap_used)]

use super::*;

fn read(text: &str) -> Vec<Row> {
    rows(text.as_bytes()).unwrap()
}

#[test]
fn azure_as_extracted_and_as_published() {
    let extract = read("t_s,input_tokens,output_tokens\n0.000,374,44\n4.315,396,109\n");
    let published = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9955900,396,109\n",
    );
    assert_eq!((extract[1].prompt_tokens, extract[1].output_tokens), (396, 109));
    assert!((published[1].at_s - 4.315).abs() < 1e-5 && (extract[1].gap_s - 4.315).abs() < 1e-9);
    assert_eq!(published[0].prompt_tokens, extract[0].prompt_tokens);
}

#[test]
fn a_night_passes_between_two_dates() {
    let rows = read("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-29 23:59:59,1,2\n2024-03-01 00:00:01,1,2\n");
    assert_eq!(rows[1].at_s, 2.0);
}

#[test]
fn burst_gpt_with_and_without_sessions() {
    let plain =
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n";
    let sessions = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,3,1.5,GPT-4,472,18,490,API log\n";
    for (text, model) in [(plain, "ChatGPT"), (sessions, "GPT-4")] {
        let row = read(text).remove(0);
        assert_eq!((row.at_s, row.prompt_tokens, row.output_tokens), (0.0, 472, 18));
        assert_eq!(row.model.as_deref(), Some(model));
    }
}

#[test]
fn mooncake_as_extracted_and_as_published() {
    let extract =
        read("{\"t_ms\":0,\"in\":1300,\"out\":500,\"h\":[0,1,2]}\n{\"t_ms\":3000,\"in\":512,\"out\":1,\"h\":[0]}\n");
    let published = read("{\"timestamp\":27482,\"input_length\":1300,\"output_length\":500,\"hash_ids\":[0,1,2]}\n");
    assert_eq!(*extract[0].blocks, [0, 1], "the third block is not full");
    assert_eq!((extract[1].at_s, extract[1].blocks.len()), (3.0, 1));
    assert_eq!(published[0], Row { gap_s: 0.0, ..extract[0].clone() });
}

#[test]
fn our_own_access_log() {
    let rows = read(concat!(
        "{\"time\":1764500000000,\"id\":\"a\",\"status\":200,\"model\":\"m\",\"prompt_tokens\":12,\"output_tokens\":3}\n",
        "{\"time\":1764500000100,\"id\":\"b\",\"status\":200,\"path\":\"/api/tags\"}\n",
        "{\"time\":1764500000250,\"id\":\"c\",\"status\":200,\"model\":\"m\",\"output_tokens\":3,\"bytes_in\":400}\n",
    ));
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].prompt_tokens, rows[0].model.as_deref()), (12, Some("m")));
    assert_eq!((rows[1].prompt_tokens, rows[1].at_s), (100, 0.25));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, part) in [
        ("", "empty"),
        ("a,b\n1,2\n", "line 1: no column"),
        ("t_s,input_tokens,output_tokens\nx,1,2\n", "line 2: \"x\" is no time"),
        ("t_s,input_tokens,output_tokens\n1,2\n", "line 2: 2 columns"),
        ("{\"t_ms\":1}\n", "line 1: no prompt length"),
        ("{\"t_ms\":1,\"in\":1,\"out\":1}\n{oops\n", "line 2:"),
        ("t_s,input_tokens,output_tokens\n", "no requests"),
    ] {
        let error = rows(text.as_bytes()).unwrap_err();
        assert!(error.contains(part), "{error} lacks {part}");
    }
}
