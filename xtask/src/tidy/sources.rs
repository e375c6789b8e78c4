//! Rules for single files.
//!
//! Deliberately not here: what a file says; only that it says something, and not too much at once.

use proc_macro2::Span;
use syn::visit::{self, Visit};

/// Most lines of a function outside tests.
const FUNCTION_LINES: usize = 70;
/// Most bytes of any file.
const FILE_BYTES: usize = 1 << 20;
/// Most lines of a file.
const FILE_LINES: usize = 800;

/// Files that may do what clippy.toml forbids everywhere else; tests, measurements and these tools besides.
const EXCEPTIONS: [&str; 4] = [
    "crates/broker/src/host.rs",
    "crates/client/src/host.rs",
    "crates/demo/src/place.rs",
    "crates/storage/src/disk.rs",
];

/// Refuses what a clone should not have to carry for ever.
pub fn check_size(path: &str, bytes: usize) -> Option<String> {
    let large = bytes > FILE_BYTES;
    large.then(|| format!("{path}: {bytes} bytes; make it when it is needed, or .gitignore it if it is a run's data"))
}

/// Judges one file by its path in the repository.
pub fn check(path: &str, text: &str) -> Vec<String> {
    let mut broken = foreign_paths(path, text);
    if !path.ends_with(".rs") {
        return broken;
    }
    if !text.starts_with("//!") {
        broken
            .push(format!("{path}: open the file with //! saying what it is, why, and what is deliberately not here"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES {
        broken.push(format!("{path}: {lines} lines; split it below {FILE_LINES}, tests into a sibling tests.rs"));
    }
    broken.extend(lines_crossed(path, text));
    if !is_test(path) {
        broken.extend(long_functions(path, text));
    }
    broken
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Exceptions to clippy.toml outside the files that are the exception, and tests that do not run.
fn lines_crossed(path: &str, text: &str) -> Vec<String> {
    let lint = ["clippy::disallowed", "_methods"].concat();
    let is_free = EXCEPTIONS.contains(&path)
        || path.starts_with("xtask/")
        || path.starts_with("fuzz/")
        || path.contains("/tests/")
        || path.contains("/examples/")
        || path.contains("/benches/");
    let ignored = ["#[ign", "ore"].concat();
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if !is_free && line.contains(&lint) {
            broken.push(format!(
                "{path}:{number}: clocks, randomness, threads and files are for {} alone; take what you need as an argument",
                EXCEPTIONS.join(" and ")
            ));
        }
        if line.trim_start().starts_with(&ignored) {
            broken.push(format!("{path}:{number}: a test that does not run shows nothing; mend it or remove it"));
        }
    }
    broken
}

/// The project stands alone: nothing in it names places of the machine it was written on.
fn foreign_paths(path: &str, text: &str) -> Vec<String> {
    let words = [["/wo", "rk/"].concat(), ["../sha", "red"].concat(), ["/ro", "ot/"].concat()];
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
            broken.push(format!("{path}:{}: do not name {word:?}; the project stands alone", number + 1));
        }
    }
    broken
}

fn long_functions(path: &str, text: &str) -> Vec<String> {
    let Ok(file) = syn::parse_file(text) else {
        return vec![format!("{path}: this is not Rust as this tool reads it; update syn in xtask")];
    };
    let mut functions = Functions { long: Vec::new() };
    functions.visit_file(&file);
    let told = |(name, line, lines): (String, usize, usize)| {
        format!(
            "{path}:{line}: fn {name} has {lines} lines; split it below {FUNCTION_LINES}: branch here, work in helpers"
        )
    };
    functions.long.into_iter().map(told).collect()
}

struct Functions {
    long: Vec<(String, usize, usize)>,
}

impl Functions {
    fn judge(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let last: Span = block.brace_token.span.close();
        let (first, last) = (signature.fn_token.span.start().line, last.end().line);
        if last - first + 1 > FUNCTION_LINES {
            self.long.push((signature.ident.to_string(), first, last - first + 1));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.judge(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.judge(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let for_tests = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
        };
        if !module.attrs.iter().any(for_tests) {
            visit::visit_item_mod(self, module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("//! A file.\nfn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_without_a_header_is_told_what_to_write() {
        let broken = check("crates/a/src/b.rs", "fn f() {}\n");
        assert_eq!(broken.len(), 1);
        assert!(broken[0].contains("//!"), "{broken:?}");
    }

    #[test]
    fn a_file_larger_than_a_mebibyte_is_not_taken_in() {
        assert_eq!(check_size("docs/plot.svg", FILE_BYTES), None);
        assert!(check_size("data/00000001.seg", FILE_BYTES + 1).is_some_and(|why| why.starts_with("data/")));
    }

    #[test]
    fn functions_over_seventy_lines_are_named_outside_tests() {
        assert_eq!(check("crates/a/src/b.rs", &function(70)), Vec::<String>::new());
        let broken = check("crates/a/src/b.rs", &function(71));
        assert!(broken[0].starts_with("crates/a/src/b.rs:2: fn long has 71 lines"), "{broken:?}");
        assert!(check("crates/a/tests/it/b.rs", &function(71)).is_empty());
        let inline = format!("//! A file.\n#[cfg(test)]\nmod tests {{\n{}}}\n", &function(71)["//! A file.\n".len()..]);
        assert!(check("crates/a/src/b.rs", &inline).is_empty());
    }

    #[test]
    fn clocks_and_files_are_for_few_and_tests_are_not_ignored() {
        let clock = ["//! A file.\n#[allow(clippy::disallowed", "_methods)]\nfn f() {}\n"].concat();
        assert!(check("crates/core/src/a.rs", &clock)[0].starts_with("crates/core/src/a.rs:2: clocks"));
        assert!(check("crates/broker/src/host.rs", &clock).is_empty());
        assert!(check("crates/broker/tests/it/a.rs", &clock).is_empty());
        let ignored = ["//! A file.\n#[test]\n#[ign", "ore]\nfn f() {}\n"].concat();
        assert!(check("crates/core/src/a.rs", &ignored)[0].contains(":3: a test that does not run"));
    }

    #[test]
    fn paths_of_a_machine_are_not_named_anywhere() {
        let text = ["see /wo", "rk/main"].concat();
        assert_eq!(check("docs/a.md", &text).len(), 1);
    }
}
