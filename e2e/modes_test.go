package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestModes lists the scripts with the modes in which they run. Whatever does not run in a mode names the part of the other world that forbids it:
// a script in the text of its skip, a step in a comment of its paragraph.
func TestModes(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	both := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := modesOf(string(text))
		t.Logf("%-16s %s", strings.TrimSuffix(filepath.Base(path), ".txtar"), m)
		for _, fault := range m.faults {
			t.Errorf("%s: %s", path, fault)
		}
		if m.skipped == "" {
			both++
		}
	}
	if both < 9 {
		t.Errorf("%d scripts run in both modes", both)
	}
}

var (
	skipping  = regexp.MustCompile(`^\[(!?)(self|aws)\] skip(?: '(.*)')?$`)
	oneMode   = regexp.MustCompile(`^\[(!?)(self|aws)\]`)
	partOfAWS = regexp.MustCompile(`API Gateway|Lambda|DynamoDB|SQS|SNS|CloudFormation|CloudWatch|EventBridge|IAM`)
)

// modes are what a script says of the modes.
type modes struct {
	skipped string // why the whole script is not for AWS; "" when it is
	steps   int    // that are for one mode alone
	faults  []string
}

// String is a line of the list.
func (m modes) String() string {
	switch {
	case m.skipped != "":
		return "self       " + m.skipped
	case m.steps > 0:
		return "self, aws  but for some steps"
	default:
		return "self, aws"
	}
}

func modesOf(script string) modes {
	var m modes
	script, _, _ = strings.Cut(script, "\n-- ")
	for paragraph := range strings.SplitSeq(script, "\n\n") {
		var named bool
		var alone []string
		served := 0
		for line := range strings.Lines(paragraph) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "#") {
				named = named || partOfAWS.MatchString(line)
				continue
			}
			switch skip, one := skipping.FindStringSubmatch(line), oneMode.FindString(line); {
			case skip != nil && skip[1]+skip[2] == string(aws) && partOfAWS.MatchString(skip[3]):
				m.skipped = skip[3]
			case strings.Contains(line, " skip") && one != "":
				m.faults = append(m.faults, "names nothing of AWS that forbids it: "+line)
			case one != "" && strings.Contains(line, "stop"):
				m.faults = append(m.faults, "ends for one mode without a word: "+line)
			case strings.HasPrefix(line, "[self] serve"): // with flags of its own; the other mode's line follows
				served++
			case strings.HasPrefix(line, "[aws] serve"):
				served--
			case one != "":
				alone = append(alone, line)
			}
		}
		if served != 0 {
			m.faults = append(m.faults, "the service starts in one mode alone")
		}
		m.steps += len(alone)
		if len(alone) > 0 && !named {
			m.faults = append(m.faults, "no comment beside these steps names what of AWS they are about:\n"+strings.Join(alone, "\n"))
		}
	}
	return m
}

// TestModesOf: a script cannot be left out of a mode without a reason.
func TestModesOf(t *testing.T) {
	for script, want := range map[string]struct {
		skipped string
		faults  int
	}{
		"# A story.\nserve\nstop\n":                                       {},
		"# A story.\n[aws] skip 'API Gateway holds the sockets'\nserve\n": {skipped: "API Gateway holds the sockets"},
		"[aws] skip\nserve\n":                                             {faults: 1},
		"[aws] skip 'it does not work'\nserve\n":                          {faults: 1},
		"[!self] skip 'Lambda'\nserve\n":                                  {faults: 1},
		"[self] skip 'Lambda'\nserve\n":                                   {faults: 1},
		"[self] serve --sync always\n[aws] serve\n":                       {},
		"[self] serve --sync always\n":                                    {faults: 1},
		"serve\n[aws] stop\n":                                             {faults: 1},
		"serve\n[self] expect ann bye\n":                                  {faults: 1},
		"# Lambda cannot.\nserve\n\n[self] expect ann bye\n":              {faults: 1},
		"serve\n\n# Lambda cannot.\n[self] expect ann bye\n":              {},
		"serve\n-- file --\n[self] expect\n":                              {},
	} {
		if m := modesOf(script); m.skipped != want.skipped || len(m.faults) != want.faults {
			t.Errorf("%q: %+v", script, m)
		}
	}
}
