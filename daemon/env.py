# SPDX-License-Identifier: Apache-2.0
"""What a notebook needs to be run again, for `nbcid env`.

Called as: python -c PROGRAM choose|given NOTEBOOK. Prints one JSON object. Nothing of the notebook
is executed or imported: its cells are only parsed. "choose" goes on in the interpreter of the
notebook's kernel, when that is found; "given" stays in this one.
"""
import sys

if sys.path and sys.path[0] == '':
    del sys.path[0]  # else modules of the current directory would be ours

import ast
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import warnings

MAX_LOCAL = 200  # modules beside the notebook that are looked into
PYTHON_MAGICS = ('time', 'timeit', 'capture', 'prun')
ASSIGNED_MAGIC = re.compile(r'[\w.,\s\[\]\'"()*]+=\s*[%!]')


def member(value, *keys):
    """A text in the metadata, which may be of any shape."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


# ---- kernels ----

def kernel_dirs():
    home = os.environ.get('JUPYTER_DATA_DIR') or os.path.join(
        os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share'), 'jupyter')
    paths = [p for p in os.environ.get('JUPYTER_PATH', '').split(os.pathsep) if p]
    paths += [home, os.path.join(sys.prefix, 'share/jupyter'), '/usr/local/share/jupyter',
              '/usr/share/jupyter']
    return [os.path.join(p, 'kernels') for p in paths]


def find_kernel(name):
    """The kernelspec of that name, or None."""
    for folder in kernel_dirs():
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.lower() != name.lower():
                continue
            try:
                with open(os.path.join(folder, entry, 'kernel.json'), encoding='utf-8') as f:
                    spec = json.load(f)
            except (OSError, ValueError):
                continue
            if isinstance(spec, dict):
                return spec
    return None


def kernel_python(spec):
    """Absolute path of the interpreter that a kernelspec of Python starts, or None."""
    argv = spec.get('argv') if isinstance(spec, dict) else None
    program = argv[0] if isinstance(argv, list) and argv else None
    if not isinstance(program, str) or member(spec, 'language') not in (None, 'python'):
        return None
    if program in ('python', 'python3'):
        return sys.executable  # as Jupyter itself does
    return shutil.which(program)


def go_on_in(python):
    with open('/proc/self/cmdline', 'rb') as f:
        argv = f.read().split(b'\0')[1:-1]
    argv[argv.index(b'choose')] = b'given'
    os.execv(python, [os.fsencode(python)] + argv)


# ---- imports ----

def plain(source):
    """IPython's own lines as pass, so that the rest parses."""
    lines, goes_on = [], False
    for line in source.split('\n'):
        text = line.strip()
        if goes_on or text.startswith(('%', '!', '?')) or text.endswith('?') or \
                ASSIGNED_MAGIC.match(text):
            goes_on = text.endswith('\\')
            line = line[:len(line) - len(line.lstrip())] + 'pass'
        lines.append(line)
    return '\n'.join(lines)


def parse(source):
    flags = ast.PyCF_ONLY_AST | getattr(ast, 'PyCF_ALLOW_TOP_LEVEL_AWAIT', 0)
    if source.lstrip().startswith('%%'):
        first, _, rest = source.lstrip().partition('\n')
        if not first[2:].split() or first[2:].split()[0] not in PYTHON_MAGICS:
            return None  # another language, or a file
        source = rest
    try:
        return compile(source, 'cell', 'exec', flags, dont_inherit=True)
    except SyntaxError:
        return compile(plain(source), 'cell', 'exec', flags, dont_inherit=True)


def is_optional(node):
    """try: import x; except ImportError: the notebook does without."""
    names = [n.id for h in node.handlers if h.type is not None for n in ast.walk(h.type)
             if isinstance(n, ast.Name)]
    return any(h.type is None for h in node.handlers) or \
        any(n in ('ImportError', 'ModuleNotFoundError', 'Exception') for n in names)


def imports(tree):
    """(module, may be missing) of each import statement."""
    optional = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and is_optional(node):
            optional.update(id(n) for part in node.body for n in ast.walk(part))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in optional
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                yield f'{node.module}.{alias.name}', id(node) in optional


def is_installed(top):
    """Is there a package or module of that name, and more than a folder?"""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin not in (None, 'namespace')


def local_files(folder, top):
    """Sources of a module beside the notebook; None when there is none."""
    base = os.path.join(folder, top)
    if os.path.isfile(base + '.py'):
        return [base + '.py']
    if any(os.path.isfile(base + end) for end in importlib.machinery.EXTENSION_SUFFIXES):
        return []
    if not os.path.isfile(os.path.join(base, '__init__.py')) and is_installed(top):
        return None  # a folder that is no package gives way to a package further on
    found = []
    for root, dirs, files in os.walk(base):
        dirs[:] = sorted(d for d in dirs if not d.startswith('.'))
        found += [os.path.join(root, f) for f in sorted(files) if f.endswith('.py')]
        if len(found) > MAX_LOCAL:
            break
    return found[:MAX_LOCAL] or None


class Imports:
    """What the cells, and the modules beside the notebook, import from elsewhere."""

    def __init__(self, folder):
        self.folder = folder
        self.modules = {}  # name -> where it is imported first
        self.optional = set()
        self.local = set()
        self.unresolved = []

    def add(self, source, where):
        try:
            tree = parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
            text = e.msg if isinstance(e, SyntaxError) else str(e)
            self.unresolved.append({'what': where, 'text': f'is not read: {type(e).__name__}: '
                                                           f'{text}; correct it'})
            return
        for module, optional in imports(tree) if tree else ():
            top = module.split('.')[0]
            if top in sys.stdlib_module_names or self.add_local(top):
                continue
            if optional and module not in self.modules:
                self.optional.add(module)
            elif not optional:
                self.optional.discard(module)
            self.modules.setdefault(module, where)

    def add_local(self, top):
        if top in self.local:
            return True
        files = local_files(self.folder, top)
        if files is None:
            return False
        self.local.add(top)
        for path in files if len(self.local) <= MAX_LOCAL else ():
            try:
                with open(path, encoding='utf-8') as f:
                    source = f.read()
            except (OSError, ValueError) as e:
                self.unresolved.append({'what': path, 'text': f'cannot be read: {e}'})
                continue
            self.add(source, os.path.relpath(path, self.folder))
        return True


# ---- distributions ----

def providers(module, by_top):
    """The distributions that a module may be of: of a namespace package, those with files there."""
    from importlib import metadata
    parts = module.split('.')
    names = sorted(set(by_top.get(parts[0], ())))
    for n in range(len(parts), 1, -1) if len(names) > 1 else ():
        near = []
        for name in names:
            files = metadata.distribution(name).files or ()
            if any(f.parts[:n] == tuple(parts[:n])
                   or f.parts == (*parts[:n - 1], parts[n - 1] + '.py') for f in files):
                near.append(name)
        if near:
            return near
    return names


def pin(name):
    """(requirement, None), or (None, why there is none)."""
    from importlib import metadata
    dist = metadata.distribution(name)
    try:
        url = json.loads(dist.read_text('direct_url.json') or 'null')
    except ValueError:
        url = None
    if url is not None:
        return None, (f'is of {name} {dist.version}, which was not installed from a package index; '
                      'publish it, or write into metadata.requirements where it is')
    return f'{dist.metadata["Name"]}=={dist.version}', None


def resolve(found):
    """Pinned requirements; what has none goes to found.unresolved."""
    from importlib import metadata
    by_top = metadata.packages_distributions()
    requirements = {}
    for module, where in found.modules.items():
        top = module.split('.')[0]
        names = providers(module, by_top)
        if not names and module not in found.optional:
            entry = {'what': top, 'where': where,
                     'text': f'is not installed for {sys.executable}; install it there, name '
                             'another interpreter with --python, or list what it is part of in '
                             'metadata.requirements'}
            if entry not in found.unresolved:
                found.unresolved.append(entry)
        for name in names:
            requirement, wrong = pin(name)
            if requirement:
                requirements[requirement.lower()] = requirement
            elif not any(u['what'] == top for u in found.unresolved):
                found.unresolved.append({'what': top, 'where': where, 'text': wrong})
    return [requirements[key] for key in sorted(requirements)]


# ---- the notebook ----

def cells_of(nb):
    for number, cell in enumerate(nb['cells'], 1):
        tags = cell['metadata'].get('tags') or ()
        if cell['cell_type'] == 'code' and 'skip-execution' not in tags:
            source = cell['source']
            yield number, source if isinstance(source, str) else ''.join(source)


def environment(old, kernel, name):
    """metadata.environment: what others wrote stays, but for a kernel that they did not name."""
    if isinstance(old, dict) and old.get('type') != 'nbcid':
        return old if member(old, 'kernel') else {**old, 'kernel': kernel}
    if old is not None and not isinstance(old, dict):
        return None
    return {**(old or {}), 'kernel': kernel, 'name': name, 'type': 'nbcid'}


def describe(nb, path, kernel, language, spec):
    meta = nb['metadata']
    python = language.lower() == 'python'
    version = '.'.join(map(str, sys.version_info[:3])) if python else \
        member(meta, 'language_info', 'version')
    found = Imports(os.path.dirname(path))
    notes = [] if spec else [f'kernel {kernel} is not installed here']
    requirements, source = None, 'none'
    listed = meta.get('requirements')
    if listed == []:
        listed = None  # nor does a run take it for "none at all"
    if python:
        for number, text in cells_of(nb):
            if text.strip():
                found.add(text, f'cell {number}')
    if isinstance(listed, list):
        requirements = [r for r in listed if isinstance(r, str) and r.strip()]
        source = 'notebook'
        found.unresolved = []
    elif listed is not None:
        found.unresolved = [{'what': 'metadata.requirements', 'text': 'is of another tool, and no '
                             'list of pip requirements; remove it to have one made'}]
    elif python:
        requirements, source = resolve(found), 'imports'
    else:
        notes.append(f'what packages a notebook in {language} needs is not looked up')
    new = environment(meta.get('environment'), kernel,
                      f'{language.lower()}-{version}' if version else language.lower())
    if new is None:
        found.unresolved.append({'what': 'metadata.environment', 'text': 'is of another tool, and '
                                 'no object; remove it to have one made'})
    return {'interpreter': {'language': language, 'version': version,
                            'path': sys.executable if python else None},
            'kernel': {'name': kernel, 'installed': spec is not None},
            'requirements': requirements, 'source': source, 'environment': new,
            'unresolved': found.unresolved, 'notes': notes}


def main():
    mode, path = sys.argv[1:3]
    warnings.simplefilter('ignore')
    with open(path, encoding='utf-8') as f:
        nb = json.load(f)
    meta = nb['metadata']
    kernel = member(meta, 'environment', 'kernel') or member(meta, 'kernelspec', 'name') or \
        'python3'
    spec = find_kernel(kernel) or find_kernel(member(meta, 'kernelspec', 'name') or kernel)
    language = member(meta, 'language_info', 'name') or member(meta, 'kernelspec', 'language') or \
        member(spec, 'language') or 'python'
    if mode == 'choose' and language.lower() == 'python':
        python = kernel_python(spec)
        if python and os.path.abspath(python) != os.path.abspath(sys.executable):
            go_on_in(python)
    if sys.version_info < (3, 10) and language.lower() == 'python':
        print(f'nbcid env: {sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, '
              'and 3.10 or newer is needed to look up imports; name another with --python',
              file=sys.stderr)
        sys.exit(1)
    print(json.dumps(describe(nb, path, kernel, language, spec)))


main()
