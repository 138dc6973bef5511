package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eureka/internal/deploy"
)

// TestAsTheTemplate: the simulator runs what the template deploys.
func TestAsTheTemplate(t *testing.T) {
	text, err := deploy.Template()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Parameters map[string]struct{ Default any }
		Resources  map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	// number resolves a number that may be a parameter.
	number := func(v any) int {
		if m, ok := v.(map[string]any); ok {
			v = doc.Parameters[fmt.Sprint(m["Ref"])].Default
		}
		var n float64
		if _, err := fmt.Sscan(fmt.Sprint(v), &n); err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		return int(n)
	}
	got, variables := map[string]spec{}, map[string][]string{}
	for name, r := range doc.Resources {
		if r.Type != "AWS::Lambda::Function" {
			continue
		}
		env, _ := r.Properties["Environment"].(map[string]any)["Variables"].(map[string]any)
		role := fmt.Sprint(env["EUREKA_ROLE"])
		s := spec{memoryMB: number(r.Properties["MemorySize"]), timeout: time.Duration(number(r.Properties["Timeout"])) * time.Second}
		if source, ok := doc.Resources[strings.TrimSuffix(name, "Function")+"Source"]; ok {
			s.batch = number(source.Properties["BatchSize"])
			s.concurrency = number(source.Properties["ScalingConfig"].(map[string]any)["MaximumConcurrency"])
			if fmt.Sprint(source.Properties["FunctionResponseTypes"]) != "[ReportBatchItemFailures]" {
				t.Errorf("%s reports no failures of items", name)
			}
		}
		got[role] = s
		for variable := range env {
			variables[role] = append(variables[role], variable)
		}
	}
	if diff := cmp.Diff(got, specs, cmp.AllowUnexported(spec{})); diff != "" {
		t.Errorf("functions (-template +simulator):\n%s", diff)
	}
	made := []string{"EUREKA_ROLE", "EUREKA_STAGE", "EUREKA_TABLE", "EUREKA_TASKS_QUEUE_URL", "EUREKA_MANAGEMENT_URL", "EUREKA_AUTH", "EUREKA_VERSION"}
	for role, list := range variables {
		for _, variable := range list {
			if !slices.Contains(made, variable) && !slices.Contains(Passed(), variable) {
				t.Errorf("the function %s of the template is told %s", role, variable)
			}
		}
	}
	for name, want := range map[string]string{"EventsQueue": roleEvents, "TasksQueue": roleFanout} {
		p := doc.Resources[name].Properties
		if got := time.Duration(number(p["VisibilityTimeout"])) * time.Second; got != visibilityOf(want, 0) {
			t.Errorf("%s: visibility %s", name, got)
		}
		if number(p["RedrivePolicy"].(map[string]any)["maxReceiveCount"]) != receives || fmt.Sprint(number(p["MessageRetentionPeriod"])) != days(keptDays) {
			t.Errorf("%s: %v", name, p)
		}
	}
	if got := doc.Resources["EventsSubscription"].Properties; got["RawMessageDelivery"] != nil || got["FilterPolicy"] != nil || got["Protocol"] != "sqs" {
		t.Errorf("%v", got)
	}
	if got := doc.Resources["ScheduleRule"].Properties["ScheduleExpression"]; got != fmt.Sprintf("rate(%d minutes)", int(scheduleEvery.Minutes())) {
		t.Errorf("%v", got)
	}
	if diff := cmp.Diff(deploy.BuildFlags(), buildFlags()); diff != "" {
		t.Error(diff)
	}
}
