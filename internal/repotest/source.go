package repotest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Budgets of production code.
const (
	MaxFileLines        = 600
	MaxFunctionLines    = 80
	MaxInterfaceMethods = 5
	MaxConstructorArgs  = 3 // then a struct
)

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "shared"}

// file is one parsed source file.
type file struct {
	path string // relative to the tree
	ast  *ast.File
	fset *token.FileSet
	size int // lines
	test bool
}

// Source holds the Go files of a tree against the budgets and comment rules and returns a line per breach.
func Source(root string) ([]string, error) {
	files, err := parse(root)
	if err != nil {
		return nil, err
	}
	var breaches []string
	documented := map[string]bool{}
	packages := map[string]string{}
	for _, f := range files {
		dir := filepath.Dir(f.path)
		if f.ast.Doc != nil {
			documented[dir] = true
		}
		if f.test {
			continue
		}
		packages[dir] = f.ast.Name.Name
		if slices.Contains(forbiddenNames, f.ast.Name.Name) {
			breaches = append(breaches, fmt.Sprintf("%s: package name %q says nothing", f.path, f.ast.Name.Name))
		}
		if f.size > MaxFileLines {
			breaches = append(breaches, fmt.Sprintf("%s: %d lines, the limit is %d", f.path, f.size, MaxFileLines))
		}
		breaches = append(breaches, f.declarations()...)
	}
	for dir, name := range packages {
		if !documented[dir] {
			breaches = append(breaches, fmt.Sprintf("%s: package %s has no doc comment", dir, name))
		}
	}
	slices.Sort(breaches)
	return breaches, nil
}

func parse(root string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of the tree
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		files = append(files, file{relative, parsed, fset, strings.Count(string(text), "\n"), strings.HasSuffix(path, "_test.go")})
		return err
	})
	return files, err
}

func (f file) declarations() []string {
	var breaches []string
	breach := func(node ast.Node, format string, args ...any) {
		breaches = append(breaches, fmt.Sprintf("%s:%d: %s", f.path, f.fset.Position(node.Pos()).Line, fmt.Sprintf(format, args...)))
	}
	for _, declaration := range f.ast.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if lines := f.lines(d); lines > MaxFunctionLines {
				breach(d, "%s has %d lines, the limit is %d", d.Name.Name, lines, MaxFunctionLines)
			}
			if ast.IsExported(d.Name.Name) && d.Doc == nil && exportedReceiver(d) {
				breach(d, "%s has no comment", d.Name.Name)
			}
			if n := arguments(d); d.Recv == nil && strings.HasPrefix(d.Name.Name, "New") && n > MaxConstructorArgs {
				breach(d, "%s takes %d arguments; past %d they belong in a struct", d.Name.Name, n, MaxConstructorArgs)
			}
		case *ast.GenDecl:
			f.general(d, breach)
		}
	}
	return breaches
}

func (f file) general(d *ast.GenDecl, breach func(ast.Node, string, ...any)) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				breach(s, "%s has no comment", s.Name.Name)
			}
			if i, ok := s.Type.(*ast.InterfaceType); ok && len(i.Methods.List) > MaxInterfaceMethods {
				breach(s, "%s has %d methods, the limit is %d", s.Name.Name, len(i.Methods.List), MaxInterfaceMethods)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					breach(s, "%s has no comment", name.Name)
				}
			}
		}
	}
}

func (f file) lines(node ast.Node) int {
	return f.fset.Position(node.End()).Line - f.fset.Position(node.Pos()).Line + 1
}

func arguments(d *ast.FuncDecl) int {
	n := 0
	for _, field := range d.Type.Params.List {
		n += max(len(field.Names), 1)
	}
	return n
}

// exportedReceiver reports whether a function, or a method's type, can be seen from outside.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if index, ok := t.(*ast.IndexExpr); ok {
		t = index.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}
