// Command testcount reads the output of `go test -json`, shows a line for each package as it ends, the attributes that tests give themselves and
// what failed tests said, and closes with the counts. It ends with code 1 when a test failed, a package did not build, or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
	Key         string // of an attribute
	Value       string
}

// counter adds up what the events say.
type counter struct {
	out                     io.Writer
	output                  map[string][]string // of tests and packages that run
	passed, failed, skipped int
	broken                  int // packages that failed without a failed test: they did not build, or crashed
	failedIn                map[string]int
	skips                   []string
}

func main() {
	os.Exit(count(os.Stdin, os.Stdout))
}

func count(in io.Reader, out io.Writer) int {
	c := counter{out: out, output: map[string][]string{}, failedIn: map[string]int{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			c.line(line)
		}
		if err != nil {
			break
		}
	}
	for _, skip := range c.skips {
		c.say("skipped %s\n", skip)
	}
	c.say("%d passed, %d failed, %d skipped\n", c.passed, c.failed+c.broken, c.skipped)
	if c.failed+c.broken > 0 || c.passed == 0 {
		return 1
	}
	return 0
}

func (c *counter) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

func (c *counter) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		c.say("%s", line) // what the tool itself says
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		c.output[key] = append(c.output[key], e.Output)
	case "build-output":
		c.say("%s", e.Output)
	case "attr":
		c.say("%s %s: %s\n", e.Test, e.Key, e.Value)
	case "pass", "fail", "skip":
		c.ended(e, key)
	}
}

func (c *counter) ended(e event, key string) {
	said := c.output[key]
	delete(c.output, key)
	switch {
	case e.Test == "":
		c.packageEnded(e, said)
	case e.Action == "pass":
		c.passed++
	case e.Action == "skip":
		c.skipped++
		c.skips = append(c.skips, key+": "+reason(said))
	default:
		c.failed++
		c.failedIn[e.Package]++
		c.say("FAILED %s\n%s", key, strings.Join(said, ""))
	}
}

func (c *counter) packageEnded(e event, said []string) {
	if e.Action == "fail" && c.failedIn[e.Package] == 0 {
		c.broken++
		c.say("FAILED %s\n%s", e.Package, strings.Join(said, ""))
	}
	word := map[string]string{"pass": "ok", "fail": "FAILED", "skip": "no tests"}[e.Action]
	c.say("%-8s %6.1fs  %s\n", word, e.Elapsed, e.Package)
}

// reason is the first thing a skipped test said that is not go test's own.
func reason(said []string) string {
	for _, line := range said {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}
