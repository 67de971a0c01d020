//! Tests of the form reader, against multer as a second reader.
#![allow(clippy::unwrap_used)]
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;

const TYPE: &str = "multipart/form-data; boundary=b";

fn field(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A form of one part with this header.
fn with_header(header: &str) -> String {
    format!("--b\r\n{header}\r\n\r\nm\r\n--b--\r\n")
}

fn name(body: &str) -> Result<Option<String>, FormError> {
    let found = scan(TYPE, body.as_bytes())?.model;
    if let Some(token) = &found {
        assert_eq!(&body[token.range.clone()], token.name);
    }
    Ok(found.map(|token| token.name))
}

/// What multer reads: each part's name, whether it is a file, its bytes.
fn theirs(content_type: &str, body: &[u8]) -> Option<Vec<(String, bool, Bytes)>> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let whole = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(body))]);
    let mut form = multer::Multipart::new(whole, boundary);
    block_on(async {
        let mut parts = Vec::new();
        while let Some(part) = form.next_field().await.ok()? {
            let name = part.name().unwrap_or_default().to_owned();
            let is_file = part.file_name().is_some();
            parts.push((name, is_file, part.bytes().await.ok()?));
        }
        Some(parts)
    })
}

fn header(offset: usize) -> FormError {
    FormError::Header { offset }
}

#[test]
fn the_model_is_found_between_files() {
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
                \0\r\n--\r\n-b\r\n\r\n";
    let body = format!("{file}{}{}--b--\r\n", field("model", "whisper-1"), field("stream", "True"));
    let fields = scan(TYPE, body.as_bytes()).unwrap();
    assert_eq!(fields.model.as_ref().unwrap().name, "whisper-1");
    assert_eq!(&body[fields.model.unwrap().range], "whisper-1");
    assert_eq!((fields.stream, fields.body_bytes), (Some(true), body.len() as u64));
    assert_eq!(name(&format!("{}--b--", field("model", ""))), Ok(None), "empty is missing");
    assert_eq!(name(&format!("{}--b--\r\n", field("models", "a"))), Ok(None));
    assert_eq!(name("--b--\r\n"), Ok(None), "no part at all");
    assert_eq!(name(&format!("{}--b--", field("model", " ü "))), Ok(Some(" ü ".to_owned())));
}

#[test]
fn headers_are_read_as_clients_write_them() {
    for header in [
        "content-disposition:form-data;name=\"model\"",
        "CONTENT-DISPOSITION: Form-Data ; Name=\"model\" ",
        "Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit\r\nContent-Length: 1",
    ] {
        assert_eq!(name(&with_header(header)), Ok(Some("m".to_owned())), "{header}");
    }
    // files whose names need care are no obstacle
    for value in ["a\\\\b\"", "a;name=model\"", "%22\"", "ü.wav\"; filename*=UTF-8''%C3%BC.wav"] {
        let body = with_header(&format!("Content-Disposition: form-data; name=\"file\"; filename=\"{value}"));
        assert_eq!(name(&body), Ok(None), "{value}");
    }
}

#[test]
fn a_model_that_is_named_twice_or_strangely_is_refused() {
    let end = "--b--\r\n";
    let model = field("model", "a");
    assert_eq!(name(&format!("{model}{model}{end}")), Err(FormError::DuplicateModel));
    assert_eq!(name(&format!("{}{model}{end}", field("model", ""))), Err(FormError::DuplicateModel));
    assert_eq!(name(&format!("{}{end}", field("Model", "a"))), Err(FormError::ModelCase("Model".to_owned())));
    assert_eq!(name(&format!("{}{end}", field("model", "a\nb"))), Err(FormError::ModelCharacters));
    assert!(name(&format!("{}{end}", field("model", &"a".repeat(MAX_MODEL)))).is_ok());
    let long = field("model", &"a".repeat(MAX_MODEL + 1));
    assert_eq!(name(&format!("{long}{end}")), Err(FormError::ModelTooLong));
    let bytes = with_header("Content-Disposition: form-data; name=\"model\"").replace("\r\nm\r\n", "\r\n?\r\n");
    let bytes: Vec<u8> = bytes.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    assert_eq!(scan(TYPE, &bytes), Err(FormError::ModelCharacters));
    for more in [
        "; filename=\"a\"",
        "; filename*=UTF-8''a",
        "\r\nContent-Type: text/plain; charset=utf-16",
        "\r\nContent-Type: text/plain; charset",
        "\r\nContent-Transfer-Encoding: base64",
        "\r\nContent-Transfer-Encoding: quoted-printable",
    ] {
        let body = with_header(&format!("Content-Disposition: form-data; name=\"model\"{more}"));
        assert_eq!(name(&body), Err(FormError::ModelNotText), "{more}");
    }
}

#[test]
fn headers_that_two_readers_could_read_differently_are_refused() {
    for wrong in [
        "",
        "Content-Type: text/plain",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=\"model",
        "Content-Disposition: form-data; name=\"mod\\el\"",
        "Content-Disposition: form-data; name=\"model\"; name=\"x\"",
        "Content-Disposition: form-data; name=\"x\"; NAME=\"model\"",
        "Content-Disposition: form-data; name*=UTF-8''model",
        "Content-Disposition: form-data; name=\"x\"; name*0=\"model\"",
        "Content-Disposition: form-data; name=\"x\"; filename=\"a\\\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\" x",
        "Content-Disposition: form-data; name=\"model\";",
        "Content-Disposition: form-data; name =\"model\"",
        "Content-Disposition: attachment; name=\"model\"",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data;\r\n name=\"model\"",
        "Content-Disposition : form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"\nX: y",
        "Content-Disposition: form-data; name=\"x\0\"",
        "no colon\r\nContent-Disposition: form-data; name=\"model\"",
    ] {
        assert_eq!(name(&with_header(wrong)), Err(header(5)), "{wrong:?}");
    }
    let plain = "Content-Disposition: form-data; name=\"model\"";
    let lines = |count: usize| with_header(&format!("{plain}{}", "\r\nX: y".repeat(count)));
    assert!(name(&lines(15)).is_ok());
    assert_eq!(name(&lines(16)), Err(header(5)));
    assert_eq!(name(&with_header(&format!("{plain}\r\nX: {}", "y".repeat(4096)))), Err(header(5)));
}

#[test]
fn forms_are_framed_exactly() {
    let part = field("model", "a");
    let hidden = "--b\nContent-Disposition: form-data; name=\"model\"\n\nb\n";
    for (body, expected) in [
        (String::new(), FormError::Start),
        (format!("\r\n{part}--b--"), FormError::Start),
        (format!("preamble\r\n{part}--b--"), FormError::Start),
        (part.clone(), FormError::Truncated),
        (format!("{part}--b"), FormError::Truncated),
        (format!("{part}--b-"), FormError::Truncated),
        (format!("{part}--b\r\n"), FormError::Truncated),
        (format!("{part}--b--\r\n\r\n"), FormError::Trailing),
        (format!("{part}--b--\r\n{part}--b--\r\n"), FormError::Trailing),
        (format!("{part}--b \r\n{part}--b--"), FormError::Delimiter { offset: part.len() }),
        (format!("{part}--bb\r\n{part}--b--"), FormError::Delimiter { offset: part.len() }),
        (format!("{part}--b--x"), FormError::Delimiter { offset: part.len() }),
        (
            format!("{}--b--", field("x", &format!("\n{hidden}"))),
            FormError::Delimiter { offset: field("x", "").len() - 1 },
        ),
        (format!("--b\r\n{part}--b--"), FormError::Delimiter { offset: 5 }),
    ] {
        assert_eq!(name(&body), Err(expected), "{body:?}");
    }
    let many = |count: usize| format!("{}--b--\r\n", field("x", "").repeat(count));
    assert!(name(&many(MAX_PARTS)).is_ok());
    assert_eq!(name(&many(MAX_PARTS + 1)), Err(FormError::TooManyParts));
}

#[test]
fn the_boundary_must_be_plain() {
    for (content_type, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data;Boundary=\"a:b\"", Some("a:b")),
        ("multipart/form-data; charset=utf-8; boundary=----x'()+_,-./:?", Some("----x'()+_,-./:?")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"\"", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=a, multipart/form-data; boundary=b", None),
        ("multipart/form-data; boundary=\"a b\"", None),
        ("multipart/form-data; boundary=\"a\\b\"", None),
        ("multipart/form-data; boundary*=a", None),
        ("multipart/form-data; boundary*0=a", None),
        ("multipart/form-data; boundary=a; boundary*0=b", None),
        ("multipart/form-data; boundary*=utf-8''b; boundary=a", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json; boundary=a", None),
    ] {
        assert_eq!(boundary(content_type).ok().as_deref(), expected, "{content_type}");
    }
    assert!(boundary(&format!("{TYPE}{}", "b".repeat(69))).is_ok());
    assert!(boundary(&format!("{TYPE}{}", "b".repeat(70))).is_err());
    assert!(is_form("MULTIPART/form-data ; boundary=a") && !is_form("multipart/form-datax") && !is_form(""));
}

#[test]
fn only_the_name_changes() {
    let body = Bytes::from(format!("{}{}--b--\r\n", field("model", "whisper-1"), field("x", "model")));
    let range = scan(TYPE, &body).unwrap().model.unwrap().range;
    let spliced = splice(&body, &range, "org/large:3");
    assert_eq!(spliced.len(), body.len() + 2);
    assert_eq!(
        spliced.parts.concat(),
        format!("{}{}--b--\r\n", field("model", "org/large:3"), field("x", "model")).as_bytes()
    );
    assert_eq!(splice(&body, &(7..1_000_000), "x").parts.concat(), [&body[..7], b"x"].concat(), "cut to the body");
}

#[test]
fn a_model_is_put_into_a_form_that_names_none() {
    let empty = format!("{}{}--b--\r\n", field("x", "1"), field("model", ""));
    for form in [format!("{}--b--\r\n", field("x", "1")), "--b--".to_owned(), empty] {
        let inserted = insert(TYPE, &Bytes::from(form), "m").unwrap().parts.concat();
        assert_eq!(scan(TYPE, &inserted).unwrap().model.unwrap().name, "m");
    }
    assert_eq!(insert("text/plain", &Bytes::new(), "m"), Err(FormError::Boundary));
}

/// Name, file name, value.
type Written = (String, Option<String>, Vec<u8>);

fn any_part() -> impl Strategy<Value = Written> {
    let name = prop_oneof!["model", "stream", "file", "[a-z \\[\\]%;=]{1,6}"];
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"--".to_vec()),
        Just(b"--x".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6)
    ];
    let value = proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    (name, proptest::option::weighted(0.3, "[a-z.;= ]{1,8}"), value)
}

fn written(boundary: &str, parts: &[Written]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, file, value) in parts {
        let file = file.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        form.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        form.extend(value);
        form.extend(b"\r\n");
    }
    form.extend(format!("--{boundary}--\r\n").bytes());
    form
}

/// Fails unless an accepted form has the one model that multer sees, too.
fn same_as_theirs(content_type: &str, body: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(fields) = scan(content_type, body) else { return Ok(false) };
    let Some(parts) = theirs(content_type, body) else { return Err(TestCaseError::fail("multer refuses it")) };
    let models: Vec<_> = parts.iter().filter(|(name, _, _)| name == "model").collect();
    prop_assert!(models.len() <= 1 && models.iter().all(|(_, is_file, _)| !is_file));
    let model = models.first().map(|(_, _, value)| value.clone()).filter(|value| !value.is_empty());
    prop_assert_eq!(fields.model.as_ref().map(|token| token.name.as_bytes()), model.as_deref());
    if let Some(token) = fields.model {
        prop_assert_eq!(&body[token.range], token.name.as_bytes());
    }
    Ok(true)
}

proptest! {
    /// What clients write is taken, and read as multer reads it.
    #[test]
    fn well_formed_forms_are_read_as_multer_reads_them(parts in proptest::collection::vec(any_part(), 0..5)) {
        let boundary = "----form-0123456789abcdef";
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let body = written(boundary, &parts);
        let taken = same_as_theirs(&content_type, &body)?;
        let models: Vec<_> = parts.iter().filter(|(name, _, _)| name == "model").collect();
        let is_plain = |(_, file, value): &&Written| {
            file.is_none() && std::str::from_utf8(value).is_ok_and(|text| !text.chars().any(char::is_control))
        };
        prop_assert_eq!(taken, models.len() <= 1 && models.iter().all(is_plain));
    }

    /// Whatever is taken of forms with faults is read alike.
    #[test]
    fn forms_with_faults_are_refused_or_read_alike(
        parts in proptest::collection::vec(any_part(), 1..4),
        faults in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..3, fault()), 1..4),
    ) {
        let mut body = written("b", &parts);
        for (place, cut, fault) in faults {
            let at = place.index(body.len());
            body.splice(at..(at + cut).min(body.len()), fault);
        }
        same_as_theirs(TYPE, &body)?;
    }

    /// Nothing panics.
    #[test]
    fn any_bytes_are_read(content_type in "(multipart/form-data)?[;= \"\\\\a-z]{0,20}", body in "(--b|\r\n|--|model|[:;=\" a-z]){0,30}") {
        let _ = boundary(&content_type);
        let _ = insert(&content_type, &Bytes::new(), "m");
        let _ = same_as_theirs(TYPE, body.as_bytes())?;
    }
}

fn fault() -> impl Strategy<Value = Vec<u8>> {
    let texts = [
        "",
        "\r",
        "\n",
        "\r\n",
        "-",
        "--b",
        "--b--",
        "\r\n--b\r\n",
        "\"",
        "\\",
        ";",
        ":",
        " ",
        "name=\"model\"",
        "*",
        "\0",
        "\u{e9}",
    ];
    proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec())
}
