//! Samples of a training step, from Rust: two HTTP calls to a ComfyUI that has the pack. Standard library only.
//!
//! ```text
//! cargo run -- http://127.0.0.1:8188 train_flux.yaml my_run 500 [models.json]
//! ```
//!
//! In a trainer call `queue` after a checkpoint is saved and go on training; ask `result` for the files later. The run
//! folder must lie below one of ComfyUI's loras folders, or below one listed under `eri_runs`.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::{env, fs, process};

/// Put the samples of one step into ComfyUI's queue; returns the path under which their files can be asked for.
///
/// `models` is the JSON of a model description, or "null" to have the host choose among its files.
fn queue(host: &str, config: &str, run: &str, step: u32, models: &str) -> Result<String, Error> {
    let body = format!(
        r#"{{"config": {}, "run": {}, "step": {step}, "models": {models}}}"#,
        quoted(config),
        quoted(run)
    );
    let answer = call(host, "POST", "/eridiffusion/queue", &body)?;
    text_of(&answer, "result").ok_or_else(|| Error::new(ErrorKind::InvalidData, answer))
}

/// What became of queued samples, as JSON; waits for up to five minutes.
fn result(host: &str, place: &str) -> Result<String, Error> {
    call(host, "GET", &format!("{place}?wait=300"), "")
}

/// One HTTP exchange with `host`, a name and port; an answer other than 200 is an error with the server's message.
fn call(host: &str, method: &str, path: &str, body: &str) -> Result<String, Error> {
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, content) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "no HTTP answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        let reason = text_of(content, "message").unwrap_or_else(|| head.to_string());
        return Err(Error::other(reason));
    }
    Ok(content.to_string())
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            c if c < ' ' => json += &format!("\\u{:04x}", c as u32),
            c => json.push(c),
        }
    }
    json + "\""
}

/// The value of a text field, as it stands in the JSON; enough for ids, paths and messages.
fn text_of(json: &str, field: &str) -> Option<String> {
    let key = format!("\"{field}\": \"");
    let rest = &json[json.rfind(&key)? + key.len()..];
    let mut escaped = false;
    let end = rest.find(|c| {
        let here = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        here
    })?;
    Some(rest[..end].to_string())
}

fn main() {
    let given: Vec<String> = env::args().skip(1).collect();
    let (Some([url, config, run]), Some(Ok(step))) =
        (given.first_chunk(), given.get(3).map(|text| text.parse()))
    else {
        eprintln!("usage: comfy-samples URL CONFIG RUN STEP [MODELS.json]");
        process::exit(2);
    };
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let samples = || {
        let models = given
            .get(4)
            .map_or(Ok("null".to_string()), fs::read_to_string)?;
        let place = queue(host, &fs::read_to_string(config)?, run, step, &models)?;
        result(host, &place)
    };
    match samples() {
        Ok(files) => println!("{files}"),
        Err(error) => {
            eprintln!("{error}");
            process::exit(1);
        }
    }
}
