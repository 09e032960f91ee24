"""Measure the size of the code and its comments by package: ``python benchmarks/code_size.py [DIRECTORY]``.

Code lines hold a token of code: no blank lines, comments or docstrings. Functions are measured from ``def`` to
their last line, docstrings included.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
LONG_FUNCTION, MANY_PARAMETERS, LONG_FILE, LONG_CLASS = 40, 6, 400, 200


@dataclass(kw_only=True)
class Size:
    """Counts over some files; ``long_*`` name what is over the limit."""

    files: int = 0
    code: int = 0
    comments: int = 0
    links: int = 0
    longest_file: int = 0
    lazy_imports: int = 0
    journal_literals: int = 0
    sampler_tests: int = 0
    long_functions: int = 0
    many_parameters: int = 0
    long_classes: list[str] = field(default_factory=list)
    long_files: list[str] = field(default_factory=list)


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines of all docstrings, including the strings below assignments."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method below `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def measure(path: Path, size: Size) -> None:
    """Add the counts of one file to `size`."""
    text = path.read_text()
    tree = ast.parse(text)
    documented = docstring_lines(tree)
    code_lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            size.comments += 1
        elif token.type not in NOT_CODE and token.type != tokenize.ENDMARKER:
            code_lines.update(range(token.start[0], token.end[0] + 1))
    size.files += 1
    size.code += len(code_lines - documented)
    size.links += text.count("https://")
    size.journal_literals += len(re.findall(r"""["'f]hpo:""", text))
    size.sampler_tests += len(re.findall(r"sampler\.name\b", text))
    lines = text.count("\n")
    size.longest_file = max(size.longest_file, lines)
    if lines > LONG_FILE:
        size.long_files.append(f"{path.name} {lines}")
    for function in functions(tree):
        size.long_functions += (function.end_lineno or 0) - function.lineno + 1 > LONG_FUNCTION
        arguments = function.args
        names = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        size.many_parameters += len([n for n in names if n not in ("self", "cls")]) > MANY_PARAMETERS
        body = [node for statement in function.body for node in ast.walk(statement)]
        size.lazy_imports += sum(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONG_CLASS:
                size.long_classes.append(f"{node.name} {length}")


def main() -> None:
    """Print the table of the packages of `hpo_batch`, and what is over the limits."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "hpo_batch"
    sizes: dict[str, Size] = {}
    for path in sorted(root.rglob("*.py")):
        package = path.relative_to(root).parts[0] if path.parent != root else "(top)"
        measure(path, sizes.setdefault(package, Size()))
        measure(path, sizes.setdefault("all", Size()))
    heads = ("package", "files", "code", "longest", f"def>{LONG_FUNCTION}", f"args>{MANY_PARAMETERS}")
    heads += ("comments/100", "links", "hpo:", "sampler.name", "lazy imports")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, size in sorted(sizes.items(), key=lambda item: (item[0] == "all", item[0])):
        rate = f"{100 * size.comments / max(size.code, 1):.1f}"
        row = (name, size.files, size.code, size.longest_file, size.long_functions, size.many_parameters, rate)
        row += (size.links, size.journal_literals, size.sampler_tests, size.lazy_imports)
        print("| " + " | ".join(map(str, row)) + " |")
    print("\nfiles over", LONG_FILE, "lines:", ", ".join(sizes["all"].long_files) or "none")
    print("classes over", LONG_CLASS, "lines:", ", ".join(sizes["all"].long_classes) or "none")


if __name__ == "__main__":
    main()
