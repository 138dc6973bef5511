package repotest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka/internal/repotest"
)

const root = "../.."

func want(t *testing.T, got []string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, breach := range got {
		t.Error(breach)
	}
}

func TestSource(t *testing.T) {
	got, err := repotest.Source(root)
	want(t, got, err)
}

func TestImports(t *testing.T) {
	got, err := repotest.Imports(t.Context(), root, repotest.Rules())
	want(t, got, err)
}

func TestText(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	var paths []string
	for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil { // one that is deleted and not committed is no file
			paths = append(paths, path)
		}
	}
	if len(paths) < 50 {
		t.Fatalf("git tracks only %d files", len(paths))
	}
	got, err := repotest.Text(root, paths)
	want(t, got, err)
}

// tree writes files below a fresh directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSourceRulesBite: a tree that breaks every rule is told so.
func TestSourceRulesBite(t *testing.T) {
	long := "func long() {\n" + strings.Repeat("\t_ = 1\n", repotest.MaxFunctionLines) + "}\n"
	dir := tree(t, map[string]string{
		"util/util.go":  "package util\n",
		"good/good.go":  "// Package good is fine.\npackage good\n\n// A is fine.\ntype A struct{}\n\n// B is fine.\nfunc (A) B() {}\n\nfunc (h hidden) C() {}\n\ntype hidden struct{}\n",
		"bad/bad.go":    "package bad\n\ntype T struct{}\n\nfunc F() {}\n\nfunc (*T) M() {}\n\nconst C = 1\n\ntype wide interface{ a(); b(); c(); d(); e(); f() }\n\nfunc newer(a, b, c, d int) {}\n\n// NewT takes too much.\nfunc NewT(a, b, c, d int) {}\n\n" + long,
		"bad/long.go":   "// Package bad has a comment.\npackage bad\n" + strings.Repeat("\n", repotest.MaxFileLines),
		"bad/x_test.go": "package bad\n\nfunc Exported() {}\n",
		"none/none.go":  "package none\n",
	})
	got, err := repotest.Source(dir)
	if err != nil {
		t.Fatal(err)
	}
	expected := []string{
		"bad/bad.go:11: wide has 6 methods, the limit is 5",
		"bad/bad.go:16: NewT takes 4 arguments; past 3 they belong in a struct",
		"bad/bad.go:18: long has 82 lines, the limit is 80",
		"bad/bad.go:3: T has no comment",
		"bad/bad.go:5: F has no comment",
		"bad/bad.go:7: M has no comment",
		"bad/bad.go:9: C has no comment",
		"bad/long.go: 602 lines, the limit is 600",
		"none: package none has no doc comment",
		`util/util.go: package name "util" says nothing`,
		"util: package util has no doc comment",
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestImportRulesBite(t *testing.T) {
	dir := tree(t, map[string]string{
		"go.mod":   "module m\n\ngo 1.26\n",
		"a/a.go":   "package a\n\nimport _ \"m/b\"\n",
		"b/b.go":   "package b\n\nimport _ \"m/c/d\"\n",
		"c/d/d.go": "package d\n",
	})
	got, err := repotest.Imports(t.Context(), dir, []repotest.Rule{
		{Package: "m/a", Forbid: []string{"m/c/"}, Why: "not even through b"},
		{Package: "m/c/...", Forbid: []string{"m/a"}, Why: "it does not"},
		{Package: "m/b", Only: true, Why: "only the standard library"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"m/a links m/c/d: not even through b", "m/b links m/c/d: only the standard library"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTextRulesBite(t *testing.T) {
	files := map[string]string{
		"README.md":  "[good](docs/a.md) [bad](docs/b.md) [web](https://x.example/y)\n`make run` and `make nothing`\n" + strings.Repeat("\n", repotest.MaxReadmeLines),
		"docs/a.md":  "[up](../README.md#part)\n",
		"Makefile":   "run: ## runs\n\tgo run .\n",
		"go.mod":     "module m\n\nreplace a => b\n",
		"big":        strings.Repeat("x", repotest.MaxFileBytes+1),
		"binary":     "a\x00b",
		"machine.go": "// see /ro" + "ot/notes\n",
	}
	dir := tree(t, files)
	var paths []string
	for path := range files {
		paths = append(paths, path)
	}
	got, err := repotest.Text(dir, paths)
	if err != nil {
		t.Fatal(err)
	}
	expected := []string{
		"README.md: 152 lines, the limit is 150",
		"README.md: links to docs/b.md, which does not exist",
		"README.md: names `make nothing`, which the Makefile does not have",
		"big: 1048577 bytes, the limit is 1048576",
		"binary: is a binary",
		"go.mod: has a replace",
		"machine.go: has a path of somebody's machine:  /ro" + "ot/",
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
