//! Generates the C header from the sources, and the lists of losses in the C++ header and in the C test programs. Both
//! the build script and the test that checks the committed headers use it.
//!
//! cbindgen reads functions, but it does not expand macros. Functions that are written once for all element types, or
//! for all losses of a table, are therefore first written out, from the text inside of the macros.

use std::fs;
use std::path::Path;

/// The source files, in the order of their contents in the header.
const SOURCES: [&str; 11] = [
    "types",
    "status",
    "context",
    "cost",
    "pointwise",
    "classes",
    "linear",
    "selective_log_softmax",
    "distillation",
    "softmax_state",
    "td",
];

/// The generated files, as a map from their paths to their texts. Temporary files are written to `scratch`, an existing
/// folder.
pub fn all(root: &Path, scratch: &Path) -> [(&'static str, String); 3] {
    [
        ("include/losskit.h", c_header(root, scratch)),
        ("include/losskit.hpp", cpp_header(root)),
        ("tests/c/pointwise_losses.h", list_for_c(root)),
    ]
}

/// The text of `include/losskit.h`. The functions are written out in `scratch`.
fn c_header(root: &Path, scratch: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is a configuration");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        let expanded = expand(root, &read(&root.join(format!("src/ffi/{name}.rs"))));
        let path = scratch.join(format!("{name}.rs"));
        fs::write(&path, expanded).expect("the scratch folder can be written");
        builder = builder.with_src(path);
    }
    let bindings = builder.generate().expect("the sources of the C ABI can be read");
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("headers are text");
    let (declarations, _) = text.split_once(END).expect("the header ends with the end of its include guard");
    [declarations, &short_forms(root), END].concat()
}

/// The end of the header, which cbindgen writes last.
const END: &str = "#endif  /* LOSSKIT_H */\n";

/// The short forms of the commonest calls, which are defined in the header, for float and for double.
fn short_forms(root: &Path) -> String {
    let single = read(&root.join("src/ffi/short_forms.h"));
    // (parameters stay aligned, because both names have the same length)
    let double = single.replace("_f32", "_f64").replace("float", "double");
    [single, double].concat()
}

/// The text of `include/losskit.hpp`, in which the list of the losses of independent elements is generated again.
fn cpp_header(root: &Path) -> String {
    const BEGIN: &str = "// Begin of what is made from the sources, as the C header is.\n";
    const END: &str = "// End of what is made from the sources.\n";
    let text = read(&root.join("include/losskit.hpp"));
    let (before, rest) = text.split_once(BEGIN).expect("the list has a beginning");
    let (_, after) = rest.split_once(END).expect("the list has an end");
    let list: String = losses(root).iter().map(Loss::in_cpp).collect();
    [before, BEGIN, &list, END, after].concat()
}

/// The text of `tests/c/pointwise_losses.h`.
fn list_for_c(root: &Path) -> String {
    let line = |loss: &Loss| {
        let kind = match loss.arguments.len() {
            0 => "PLAIN",
            1 => "WITH_NUMBER",
            _ => "WITH_ARRAY",
        };
        format!(" \\\n    {kind}({})", loss.name)
    };
    let lines: String = losses(root).iter().map(line).collect();
    format!(
        "/* The losses of independent elements, by what they take after `weight`. Made from the sources, as the header is. */\n\
         #define POINTWISE_LOSSES(PLAIN, WITH_NUMBER, WITH_ARRAY){lines}\n"
    )
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A source of the C ABI, with each `for_each_element_type! { ... }` replaced by the functions that it stands for.
fn expand(root: &Path, source: &str) -> String {
    let mut expanded = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "for_each_element_type! {" {
            expanded.push_str(line);
            expanded.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        let functions = functions(&block);
        if functions.iter().any(|function| function.name == "$name") {
            // the pattern for the functions of all losses, in a macro; the file contains nothing else for the header
            let of_loss =
                |loss: &Loss| functions.iter().map(|pattern| pattern.of(loss).for_each_element_type()).collect();
            return losses(root).iter().map(of_loss).collect::<Vec<String>>().concat();
        }
        functions.iter().for_each(|function| expanded.push_str(&function.for_each_element_type()));
    }
    expanded
}

/// A function of arrays of `T`.
struct Function {
    docs: Vec<String>,
    name: String,
    arguments: Vec<String>,
}

/// The functions between the braces of `for_each_element_type! { ... }`.
fn functions(block: &[&str]) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut docs = Vec::new();
    let mut lines = block.iter().map(|line| line.trim());
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            docs.push(text.to_owned());
        } else if let Some(name) = line.strip_prefix("fn ") {
            let name = name.strip_suffix('(').expect("arguments stand below the name, one a line").to_owned();
            let arguments = lines.by_ref().take_while(|line| *line != ") {").map(str::to_owned).collect();
            functions.push(Function { docs: std::mem::take(&mut docs), name, arguments });
        }
    }
    functions
}

impl Function {
    /// The function of a loss, generated from the pattern for all losses of the table.
    fn of(&self, loss: &Loss) -> Self {
        let paragraph = [String::new()];
        let mut arguments = self.arguments.clone();
        let at = arguments.iter().position(|argument| argument.starts_with('$')).expect("a place for the loss's own");
        arguments.splice(at..=at, loss.arguments.iter().cloned());
        Function { docs: [&loss.docs[..], &paragraph, &self.docs].concat(), name: loss.name.clone(), arguments }
    }

    /// The function as text for cbindgen, once for each element type.
    fn for_each_element_type(&self) -> String {
        let name = &self.name;
        let docs: String = self.docs.iter().map(|text| format!("///{text}\n")).collect();
        let of_f64 = format!("/// As lk_{name}_f32, in double precision.\n");
        [("f32", docs), ("f64", of_f64)].map(|(element, docs)| self.declaration(&docs, element)).concat()
    }

    fn declaration(&self, docs: &str, element: &str) -> String {
        let name = &self.name;
        let of_element = |argument: &String| match argument.strip_suffix(" T,") {
            Some(argument) => format!("    {argument} {element},\n"),
            None => format!("    {argument}\n"),
        };
        let arguments: String = self.arguments.iter().map(of_element).collect();
        let begin = format!("{docs}#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn lk_{name}_{element}");
        format!("{begin}(\n{arguments}) -> lk_status {{ LK_OK }}\n\n")
    }
}

/// A line of the table of losses of independent elements.
struct Loss {
    name: String,
    /// The comment at the beginning of its file.
    docs: Vec<String>,
    /// Its own parameters, one in each entry.
    arguments: Vec<String>,
}

impl Loss {
    /// The name of its function object in C++.
    fn in_cpp(&self) -> String {
        let name = &self.name;
        let title = self.docs.first().expect("its file says what it is").trim();
        let title = title.split([':', '(']).next().unwrap_or_default().trim_end_matches([' ', '.']);
        let options = if self.arguments.is_empty() { "options".to_owned() } else { format!("{name}_options") };
        let declaration = format!("inline constexpr pointwise_loss<lk_{name}_f32, lk_{name}_f64, {options}>");
        let separator = if declaration.len() + name.len() > 116 { "\n    " } else { " " };
        format!("/// {title}: lk_{name}_f32, lk_{name}_f64.\n{declaration}{separator}{name}{{}};\n")
    }
}

/// The table, line by line.
fn losses(root: &Path) -> Vec<Loss> {
    let folder = root.join("src/loss");
    let table = read(&folder.join("table.rs"));
    let lines = table.lines().map(str::trim).filter(|line| line.contains('['));
    let loss = |line: &str| {
        let (name, rest) = line.split_once(' ').expect("a line of the table begins with a file");
        let (_, rest) = rest.split_once('[').expect("a line of the table has arguments");
        let (arguments, _) = rest.split_once(']').expect("arguments end");
        let arguments = arguments.split(", ").filter(|argument| !argument.is_empty());
        let file = read(&folder.join(format!("{name}.rs")));
        Loss {
            name: name.to_owned(),
            docs: file.lines().map_while(|line| line.strip_prefix("//!")).map(str::to_owned).collect(),
            arguments: arguments.map(|argument| format!("{argument},")).collect(),
        }
    };
    lines.filter(|line| !line.starts_with(['#', '/'])).map(loss).collect()
}
