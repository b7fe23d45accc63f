//! What each format makes of hostile cells.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    Float32Array, Float64Array, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder, StringViewArray,
    StructArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use insta::assert_snapshot;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

/// Names a thief would choose, NULL beside the empty text, numbers, times and nested values.
fn hostile() -> RecordBatch {
    let names = [
        Some("plain"),
        Some(""),
        None,
        Some("a,b \"quoted\""),
        Some("tab\there\nnew line\r\\end"),
        Some("\x1b[31mred\x07"),
        Some("evil\u{202e}gpj.exe"),
        Some("pipe | bar │ <img src=x> [l](u) *b*"),
        Some("漢字 🦀"),
    ];
    let sizes = [Some(0), Some(-1), None, Some(i64::MAX), Some(4), Some(5), Some(6), Some(7), Some(8)];
    let second = 1_795_300_000_000_000_000;
    let times = [Some(second), Some(second + 123_000_000), None, Some(second + 1), Some(0), Some(-1), None, None, None];
    let lists = [Some(vec![Some(1), None]), Some(vec![]), None, Some(vec![Some(3)]), None, None, None, None, None];
    batch(vec![
        ("name", Arc::new(StringArray::from(names.to_vec()))),
        ("size", Arc::new(Int64Array::from(sizes.to_vec()))),
        ("mtime", Arc::new(TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC"))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
    ])
}

fn write(format: Format, look: Look, batches: &[RecordBatch], cut: Option<&str>) -> (String, Remark) {
    let mut out = Vec::new();
    let mut renderer = format.renderer(look).unwrap();
    renderer.begin(&batches[0].schema(), &mut out).unwrap();
    for batch in batches {
        renderer.batch(batch, &mut out).unwrap();
    }
    let closing = Closing { cut: cut.map(str::to_owned), completeness: "{}".to_owned(), stopped: false };
    let remark = renderer.end(&closing, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), remark)
}

fn text(format: Format, batches: &[RecordBatch]) -> String {
    write(format, Look::default(), batches, None).0
}

#[test]
fn table() {
    assert_snapshot!(text(Format::Table, &[hostile()]));
}

#[test]
fn csv() {
    assert_snapshot!(
        text(Format::Csv, &[hostile()]).replace('\r', "<CR>").replace('\x1b', "<ESC>").replace('\x07', "<BEL>")
    );
}

#[test]
fn tsv() {
    assert_snapshot!(text(Format::Tsv, &[hostile()]).replace('\x1b', "<ESC>").replace('\x07', "<BEL>"));
}

#[test]
fn json() {
    assert_snapshot!(text(Format::Json, &[hostile()]));
}

#[test]
fn jsonl() {
    assert_snapshot!(text(Format::Jsonl, &[hostile()]));
}

#[test]
fn markdown() {
    assert_snapshot!(text(Format::Markdown, &[hostile()]));
}

#[test]
fn vertical() {
    assert_snapshot!(text(Format::Vertical, &[hostile()]));
}

#[test]
fn a_text_is_no_formula_to_a_spreadsheet_where_that_is_asked_for() {
    let texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "a=b", "", "'=1"];
    let rows = batch(vec![
        ("=t", Arc::new(StringArray::from(texts.to_vec()))),
        ("n", Arc::new(Int64Array::from(vec![-1; texts.len()]))),
    ]);
    let safe = write(Format::Csv, Look { safe_csv: true, ..Look::default() }, std::slice::from_ref(&rows), None).0;
    assert_eq!(
        safe,
        "'=t,n\n'=1+1,-1\n'+1,-1\n'-1,-1\n'@SUM(A1),-1\n'\tx,-1\n\"'\rx\",-1\nplain,-1\na=b,-1\n\"\",-1\n'=1,-1\n"
    );
    let as_it_is = text(Format::Csv, &[rows]);
    assert!(as_it_is.starts_with("=t,n\n=1+1,-1\n"), "{as_it_is}");
}

#[test]
fn no_cell_ends_its_row_or_column() {
    let rows = hostile().num_rows();
    let count = |format| text(format, &[hostile()]).lines().count();
    assert_eq!(count(Format::Tsv), rows + 1);
    assert_eq!(count(Format::Jsonl), rows);
    assert_eq!(count(Format::Table), rows + 2);
    assert_eq!(count(Format::Markdown), rows + 2);
    assert_eq!(count(Format::Vertical), rows * 5);
    for line in text(Format::Tsv, &[hostile()]).lines() {
        assert_eq!(line.matches('\t').count(), 3, "{line}");
    }
    for line in text(Format::Table, &[hostile()]).lines().filter(|line| !line.starts_with('─')) {
        assert_eq!(line.matches('│').count(), 3, "{line}");
    }
    for line in text(Format::Markdown, &[hostile()]).lines() {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 5, "{line}");
    }
}

#[test]
fn nothing_that_a_terminal_obeys_reaches_one() {
    let look = Look { terminal: true, ..Look::default() };
    for format in Format::value_variants().iter().filter(|format| format.is_text()) {
        let (text, _) = write(*format, look, &[hostile()], Some("cut by \x1b[2J"));
        let obeyed = text.chars().find(|c| escape::is_hidden(*c) && !matches!(c, '\n' | '\t'));
        assert_eq!(obeyed, None, "{format:?}");
    }
}

#[test]
fn json_reads_back_with_every_column_in_every_row() {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&text(Format::Json, &[hostile(), hostile()])).unwrap();
    assert_eq!(rows.len(), 2 * hostile().num_rows());
    assert!(rows.iter().all(|row| row.len() == 4));
    assert_eq!(rows[2]["name"], serde_json::Value::Null);
    assert_eq!(rows[4]["name"], "tab\there\nnew line\r\\end");
    assert_eq!(rows[3]["size"], i64::MAX);
    assert_eq!(rows[0]["list"], serde_json::json!([1, null]));
}

#[test]
fn no_rows_still_have_a_header() {
    let none = [hostile().slice(0, 0)];
    assert_snapshot!(text(Format::Table, &none), @r"
    name │ size │ mtime │ list
    ─────┼──────┼───────┼─────
    ");
    assert_eq!(text(Format::Csv, &none), "name,size,mtime,list\n");
    assert_eq!(text(Format::Tsv, &none), "name\tsize\tmtime\tlist\n");
    assert_eq!(text(Format::Json, &none), "[]\n");
    assert_eq!(text(Format::Jsonl, &none), "");
    assert_eq!(text(Format::Vertical, &none), "");
    assert_eq!(text(Format::Markdown, &none), "| name | size | mtime | list |\n| --- | ---: | --- | --- |\n");
}

#[test]
fn columns_of_one_name_stay_apart_in_json() {
    let column = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let twins = batch(vec![("a", column("1")), ("a", column("2")), ("a_2", column("3")), ("a", column("4"))]);
    assert_eq!(
        text(Format::Jsonl, std::slice::from_ref(&twins)),
        "{\"a\":\"1\",\"a_3\":\"2\",\"a_2\":\"3\",\"a_4\":\"4\"}\n"
    );
    assert_eq!(text(Format::Csv, &[twins]), "a,a,a_2,a\n1,2,3,4\n");
}

#[test]
fn an_unknown_only_cell_is_still_a_row_of_csv() {
    let alone = batch(vec![("a", Arc::new(StringArray::from(vec![None, Some("")])))]);
    assert_eq!(text(Format::Csv, &[alone]), "a\n\"\"\n\"\"\n");
}

#[test]
fn types_are_real() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("te\"am");
    map.values().append_value("a\n");
    map.keys().append_value("none");
    map.values().append_null();
    map.append(true).unwrap();
    let inner: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0]));
    let fields = vec![(Arc::new(Field::new("at", inner.data_type().clone(), true)), inner)];
    let dictionary: DictionaryArray<Int32Type> = [Some("d")].into_iter().collect();
    let decimal = Decimal128Array::from(vec![-12345]).with_precision_and_scale(10, 2).unwrap();
    let kinds = batch(vec![
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(StructArray::from(fields))),
        ("dictionary", Arc::new(dictionary)),
        ("decimal", Arc::new(decimal)),
        ("view", Arc::new(StringViewArray::from(vec!["v"]))),
        ("binary", Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]]))),
        ("huge", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("float", Arc::new(Float64Array::from(vec![1e300]))),
        ("single", Arc::new(Float32Array::from(vec![0.1]))),
        ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("truth", Arc::new(BooleanArray::from(vec![true]))),
        ("date", Arc::new(Date32Array::from(vec![1]))),
        ("duration", Arc::new(DurationSecondArray::from(vec![61]))),
        ("null", Arc::new(arrow::array::NullArray::new(1))),
    ]);
    assert_snapshot!(text(Format::Jsonl, std::slice::from_ref(&kinds)));
    assert_snapshot!(text(Format::Vertical, &[kinds]));
}

#[test]
fn a_table_fits_the_terminal_and_says_so() {
    let wide = batch(vec![
        ("path", Arc::new(StringArray::from(vec!["/a/very/long/path/to/something/rather/deep"]))),
        ("size", Arc::new(Int64Array::from(vec![1_234_567_890_123]))),
        ("owner", Arc::new(StringArray::from(vec!["somebody with a long name"]))),
    ]);
    let look = Look { terminal: true, width: Some(50), ..Look::default() };
    let (shown, remark) = write(Format::Table, look, std::slice::from_ref(&wide), None);
    assert_snapshot!(shown, @r"
    path             │          size │ owner
    ─────────────────┼───────────────┼────────────────
    /a/very/long/pa… │ 1234567890123 │ somebody with …
    ");
    assert!(shown.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 50));
    assert_eq!(remark.unwrap(), "cut to the terminal: path, owner; vertical (`\\x`) shows all of it");
    // Where there is no room for all, whole columns are left out.
    let (shown, remark) = write(Format::Table, Look { width: Some(10), ..look }, std::slice::from_ref(&wide), None);
    assert!(shown.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 10), "{shown}");
    assert_eq!(
        remark.unwrap(),
        "1 of 3 columns shown, without size, owner; cut to the terminal: path; vertical (`\\x`) shows all of it"
    );
    let (shown, remark) = write(Format::Table, Look { expand: true, ..look }, &[wide], None);
    assert_snapshot!(shown, @r"
    ─── row 1 ───
    path  │ /a/very/long/path/to/something/rather/deep
    size  │ 1234567890123
    owner │ somebody with a long name
    ");
    assert_eq!(remark, None);
}

#[test]
fn a_listing_folds_what_is_long_and_leaves_blank_what_is_not_there() {
    let listing = batch(vec![
        ("column", Arc::new(StringArray::from(vec![Some("type"), None]))),
        ("about", Arc::new(StringArray::from(vec!["what it is: file, directory, link, fifo", "short"]))),
    ]);
    let look = Look { terminal: true, width: Some(30), listing: true, ..Look::default() };
    let (shown, remark) = write(Format::Table, look, &[listing], None);
    assert_snapshot!(shown, @r"
    column │ about
    ───────┼──────────────────────
    type   │ what it is: file,
           │ directory, link, fifo
           │ short
    ");
    assert_eq!(remark, None);
}

#[test]
fn a_files_ending_names_its_format() {
    for (path, expected) in [
        ("x.json", Some(Format::Json)),
        ("/a.b/x.JSONL", Some(Format::Jsonl)),
        ("x.md", Some(Format::Markdown)),
        ("x.parquet", Some(Format::Parquet)),
        ("x.csv.gz", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of_path(Path::new(path)), expected, "{path}");
    }
    let said = |path: &str| Format::for_file(Path::new(path), Format::Tsv).1;
    assert_eq!(said("x.csv.gz").unwrap(), "the ending of `x.csv.gz` names no format: it is written as tsv");
    assert_eq!((said("x"), said("/dev/null"), said("x.csv")), (None, None, None));
}

#[test]
fn rows_beyond_the_limit_are_counted() {
    let look = Look { terminal: true, rows_max: Some(2), ..Look::default() };
    for format in [Format::Table, Format::Vertical] {
        let (shown, remark) = write(format, look, &[hostile(), hostile()], None);
        assert!(!shown.contains("quoted"), "{format:?}");
        assert_eq!(remark.unwrap(), "2 of 18 rows shown; `.maxrows 0` shows all");
    }
}

#[test]
fn a_cut_is_said_where_there_is_a_place_for_it() {
    let one = [hostile().slice(0, 1)];
    for format in Format::value_variants().iter().filter(|format| format.is_text()) {
        let (shown, _) = write(*format, Look::default(), &one, Some("cut short by limit_rows on web-1"));
        let said = shown.contains("cut short by limit");
        assert_eq!(said, format.carries_cut(), "{format:?}");
    }
}

#[test]
fn arrow_keeps_types_and_the_completeness_record() {
    let mut out = Vec::new();
    let mut renderer = Format::Arrow.renderer(Look::default()).unwrap();
    renderer.begin(&hostile().schema(), &mut out).unwrap();
    renderer.batch(&hostile(), &mut out).unwrap();
    renderer.end(&Closing { cut: None, completeness: "{\"asked\":1}".into(), stopped: false }, &mut out).unwrap();
    let mut reader = arrow::ipc::reader::FileReader::try_new(io::Cursor::new(out), None).unwrap();
    assert_eq!(reader.custom_metadata()["canvass.completeness"], "{\"asked\":1}");
    assert_eq!(reader.next().unwrap().unwrap(), hostile());
    assert_eq!(
        reader.schema().field(2).data_type(),
        &DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, Some("UTC".into()))
    );
}
