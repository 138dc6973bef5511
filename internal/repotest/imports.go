package repotest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// Rule forbids a package, or all below it, to link others.
type Rule struct {
	Package string   // import path; with a trailing /... all below it too
	Forbid  []string // import paths or prefixes
	Only    bool     // nothing but the standard library and Forbid's absence: no third-party package at all
	Why     string
}

// Rules are the import rules of ARCHITECTURE.md.
func Rules() []Rule {
	heavy := []string{"github.com/nats-io/", "modernc.org/sqlite", "github.com/alecthomas/kong", "eureka/internal/gateway", "eureka/internal/engine"}
	nats := []string{"github.com/nats-io/", "modernc.org/", "github.com/alecthomas/kong", "eureka/internal/gateway", "eureka/internal/engine/natsengine", "eureka/internal/app"}
	configured := []string{"eureka/internal/config", "github.com/goccy/go-yaml", "github.com/aws/aws-sdk-go-v2/config"}
	return []Rule{
		{"eureka", nil, true, "the vocabulary imports only the standard library"},
		{"eureka/internal/core", append(slices.Clone(heavy), "eureka/internal/httpapi", "eureka/internal/edge"), true, "the core stands on the ports alone"},
		{"eureka/internal/protocol", heavy, true, "frames are JSON and nothing else"},
		{"eureka/internal/wire", heavy, true, "bytes and nothing else"},
		{"eureka/internal/auth", heavy, false, "it serves every mode"},
		{"eureka/internal/httpapi", heavy, false, "the same handler runs behind every edge"},
		{"eureka/internal/engine/...", []string{"eureka/internal/gateway", "eureka/internal/core", "eureka/internal/httpapi", "eureka/internal/app"}, false, "an engine knows the ports"},
		{"eureka/internal/porttest", []string{"eureka/internal/engine", "eureka/internal/gateway", "eureka/internal/core"}, false, "a suite knows an engine through the port"},
		{"eureka/client", []string{"eureka/internal/", "github.com/nats-io/", "modernc.org/sqlite"}, false, "a client is not the service"},
		{"eureka/internal/rule", append(slices.Clone(heavy), "eureka/internal/core", "eureka/internal/edge", "eureka/internal/httpapi", "eureka/internal/engine"), false, "rules see their subject alone"},
		{"eureka/internal/intake", append(slices.Clone(heavy), "eureka/internal/core", "eureka/internal/edge", "eureka/internal/source", "github.com/aws/", "github.com/cloudevents/sdk-go/v2/protocol", "github.com/cloudevents/sdk-go/v2/client"), false, "decoding is pure"},
		{"eureka/internal/mock", append(slices.Clone(heavy), "eureka/internal/httpapi", "eureka/internal/edge", "eureka/internal/app"), false, "it plays through the core alone"},
		{"eureka/internal/edge/apigw", nats, false, "a function starts small"},
		{"eureka/internal/edge/simulator/...", append(slices.Clone(nats), "eureka/internal/core", "eureka/internal/httpapi", "eureka/internal/edge/apigw", "eureka/internal/lambdaapp"), false, "it knows functions by their environment alone"},
		{"eureka/internal/loadgen", append(slices.Clone(heavy), "eureka/internal/core", "eureka/internal/wire", "eureka/internal/protocol", "eureka/internal/app"), false, "it speaks to a service as any client does"},
		{"eureka/internal/lambdaapp", append(slices.Clone(nats), configured...), false, "a function starts small"},
		{"eureka/cmd/eureka-lambda", append(slices.Clone(nats), configured...), false, "a function starts small"},
		{"eureka/...", []string{"eureka/cmd/"}, false, "nothing imports a command"},
	}
}

// Imports checks the packages of the module in dir against the rules and returns a line per breach. Rules of packages that do not
// exist yet hold of themselves.
func Imports(ctx context.Context, dir string, rules []Rule) ([]string, error) {
	command := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Deps,Standard", "-deps", "./...")
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, err
	}
	type listed struct {
		ImportPath string
		Deps       []string
		Standard   bool
	}
	var packages []listed
	standard := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		standard[p.ImportPath] = p.Standard
		packages = append(packages, p)
	}
	var breaches []string
	for _, p := range packages {
		for _, r := range rules {
			if !r.covers(p.ImportPath) {
				continue
			}
			for _, dep := range p.Deps {
				if r.forbids(dep, standard[dep]) && dep != p.ImportPath {
					breaches = append(breaches, fmt.Sprintf("%s links %s: %s", p.ImportPath, dep, r.Why))
				}
			}
		}
	}
	slices.Sort(breaches)
	return breaches, nil
}

func (r Rule) covers(path string) bool {
	if prefix, all := strings.CutSuffix(r.Package, "/..."); all {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return path == r.Package
}

func (r Rule) forbids(dep string, standard bool) bool {
	if r.Only && !standard && dep != "eureka" && !strings.HasPrefix(dep, "eureka/") {
		return true
	}
	return slices.ContainsFunc(r.Forbid, func(prefix string) bool { return strings.HasPrefix(dep, prefix) })
}
