package repotest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Limits of files that are no Go code.
const (
	MaxFileBytes   = 1 << 20
	MaxReadmeLines = 150
)

var (
	// Written so that this file itself does not hold what it looks for.
	machinePath = regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/(wo` + `rk|ro` + `ot|ho` + `me/[a-z]+|tmp/ba` + `sh)[/\w]`)
	link        = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	makeCall    = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	makeTarget  = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
)

// Text holds the files of a tree that git tracks against the rules for texts, and returns a line per breach. paths are relative to root.
func Text(root string, paths []string) ([]string, error) {
	var breaches []string
	targets := map[string]bool{}
	if makefile, err := os.ReadFile(filepath.Join(root, "Makefile")); err == nil { //nolint:gosec // a file of the tree
		for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
			targets[m[1]] = true
		}
	}
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, path)) //nolint:gosec // a file of the tree
		if err != nil {
			return nil, err
		}
		breaches = append(breaches, checkFile(path, text)...)
		if strings.HasSuffix(path, ".md") {
			breaches = append(breaches, checkMarkdown(root, path, string(text), targets)...)
		}
	}
	slices.Sort(breaches)
	return breaches, nil
}

func checkFile(path string, text []byte) []string {
	var breaches []string
	if len(text) > MaxFileBytes {
		breaches = append(breaches, fmt.Sprintf("%s: %d bytes, the limit is %d", path, len(text), MaxFileBytes))
	}
	if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
		breaches = append(breaches, path+": is a binary")
	}
	if m := machinePath.Find(text); m != nil {
		breaches = append(breaches, fmt.Sprintf("%s: has a path of somebody's machine: %s", path, m))
	}
	if filepath.Base(path) == "go.mod" && regexp.MustCompile(`(?m)^replace\b`).Match(text) {
		breaches = append(breaches, path+": has a replace")
	}
	return breaches
}

func checkMarkdown(root, path, text string, targets map[string]bool) []string {
	var breaches []string
	if lines := strings.Count(text, "\n"); path == "README.md" && lines > MaxReadmeLines {
		breaches = append(breaches, fmt.Sprintf("%s: %d lines, the limit is %d", path, lines, MaxReadmeLines))
	}
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, filepath.Dir(path), m[1])); err != nil { //nolint:gosec // only whether it is there
			breaches = append(breaches, fmt.Sprintf("%s: links to %s, which does not exist", path, m[1]))
		}
	}
	for _, m := range makeCall.FindAllStringSubmatch(text, -1) {
		if !targets[m[1]] {
			breaches = append(breaches, fmt.Sprintf("%s: names `make %s`, which the Makefile does not have", path, m[1]))
		}
	}
	return breaches
}
