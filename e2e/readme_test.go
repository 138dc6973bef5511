package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// placeholders are what the scripts write where the README names the default port and the second node's.
var placeholders = strings.NewReplacer(
	// The verb serve runs the binary with an address of its own.
	"eureka serve --listen 127.0.0.1:8832 --nats nats://127.0.0.1:4222", "serve a --nats $NATS",
	"eureka serve --listen 127.0.0.1:8842 --nats nats://127.0.0.1:4222", "serve b --nats $NATS",
	"http://localhost:8832", "$URL", "ws://localhost:8832", "$WS", "localhost:8832", "$HOST", ":8832/", ":$PORT/",
)

// TestReadmeCommandsAreRun: every command in the README's shell blocks stands in a script, word for word but for addresses.
func TestReadmeCommandsAreRun(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	others, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, others...)
	var scripts strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(text)
	}
	all := scripts.String()
	commands := shellCommands(string(readme))
	if len(commands) < 12 {
		t.Errorf("only %d commands were found; does this test still read the README?", len(commands))
	}
	for _, command := range commands {
		if command == "make test" {
			continue // what runs this test
		}
		if !strings.Contains(all, command) && !strings.Contains(all, placeholders.Replace(command)) && !strings.Contains(all, strings.ReplaceAll(command, "8832", "$PORT")) {
			t.Errorf("no script runs %q", command)
		}
	}
}

// shellCommands returns the lines of ```sh blocks that are commands, without their comments.
func shellCommands(markdown string) []string {
	var commands []string
	inBlock := false
	for line := range strings.Lines(markdown) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = line == "```sh"
		case inBlock && line != "" && !strings.HasPrefix(line, "#"):
			command, _, _ := strings.Cut(line, "  #")
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}
