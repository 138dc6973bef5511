package e2e

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"eureka/internal/deploy/deploytest"
)

// TestDeployScripts runs testdata/deploy/*.txtar against a fake AWS account, since nothing of CloudFormation and S3 can be installed. What the
// functions do is tested with the simulator.
func TestDeployScripts(t *testing.T) {
	p := params(t, self, "testdata/deploy/*.txtar")
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		for _, pair := range deploytest.New(t).Environ() {
			name, value, _ := strings.Cut(pair, "=")
			env.Setenv(name, value)
		}
		return nil
	}
	testscript.Run(t, p)
}
