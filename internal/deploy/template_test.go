package deploy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"eureka/internal/awslocal"
	"eureka/internal/deploy"
	"eureka/internal/lambdaapp"
)

var update = flag.Bool("update", false, "write the golden files")

const golden = "../../deploy/template.json"

func template(t *testing.T) []byte {
	t.Helper()
	text, err := deploy.Template()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestGolden keeps the template readable in the repository.
func TestGolden(t *testing.T) {
	short := template(t)
	var long bytes.Buffer
	if err := json.Indent(&long, short, "", "  "); err != nil {
		t.Fatal(err)
	}
	text := append(long.Bytes(), '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s is not what the code makes; go test ./internal/deploy -update writes it", golden)
	}
	if len(short) > deploy.MaxTemplateBytes {
		t.Errorf("the template has %d bytes, CloudFormation takes %d", len(short), deploy.MaxTemplateBytes)
	}
}

// specFaults checks a template against the specification of CloudFormation's resources.
func specFaults(t *testing.T, text []byte) []string {
	t.Helper()
	tools, err := awslocal.Tools()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(tools, "node_modules", "@aws-cdk", "aws-service-spec")
	node, nodeErr := exec.LookPath("node")
	if _, err := os.Stat(folder); (err != nil || nodeErr != nil) && os.Getenv("CI") == "" {
		t.Skip("node or the specification is not installed; `make tools` installs it")
	}
	command := exec.CommandContext(t.Context(), node, "testdata/speccheck.mjs", folder)
	command.Stdin = bytes.NewReader(text)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

func TestSpecification(t *testing.T) {
	for _, fault := range specFaults(t, template(t)) {
		t.Error(fault)
	}
}

// TestSpecificationNotices: the check finds what is wrong in a template.
func TestSpecificationNotices(t *testing.T) {
	broken := string(template(t))
	for _, edit := range [][2]string{
		{`"BillingMode":"PAY_PER_REQUEST"`, `"BillingModus":"PAY_PER_REQUEST"`},
		{`"Handler":"bootstrap"`, `"Handler":7`},
		{`"AWS::SNS::Topic"`, `"AWS::SNS::Topik"`},
		{`"RouteKey":"$connect"`, `"RouteKei":"$connect"`},
		{`"ReportBatchItemFailures"`, `7`},
	} {
		if !strings.Contains(broken, edit[0]) {
			t.Fatalf("the template has no %s", edit[0])
		}
		broken = strings.Replace(broken, edit[0], edit[1], 1)
	}
	found := strings.Join(specFaults(t, []byte(broken)), "\n")
	for _, want := range []string{"BillingModus: there is no such property", "Handler: is no text", "Topik", "RouteKei: there is", "RouteKey: is required", "FunctionResponseTypes[0]: is no text"} {
		if !strings.Contains(found, want) {
			t.Errorf("not noticed: %s in\n%s", want, found)
		}
	}
}

type resourceText struct {
	Type       string
	Properties map[string]json.RawMessage
}

func resources(t *testing.T) map[string]resourceText {
	t.Helper()
	var doc struct{ Resources map[string]resourceText }
	if err := json.Unmarshal(template(t), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Resources
}

// TestLeastPrivilege: no statement allows everything, on everything, or what no function does.
func TestLeastPrivilege(t *testing.T) {
	allowed := []string{"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "execute-api:ManageConnections"}
	for name, r := range resources(t) {
		if r.Type != "AWS::IAM::Role" || name == "AccountRole" {
			continue
		}
		var policies []struct {
			PolicyDocument struct {
				Statement []struct {
					Action   []string
					Resource json.RawMessage
				}
			}
		}
		if err := json.Unmarshal(r.Properties["Policies"], &policies); err != nil {
			t.Fatal(err)
		}
		closes := strings.Contains(string(r.Properties["Policies"]), "${Stage}/DELETE/@connections/")
		if want := name == "WsRole" || name == "HttpRole" || name == "ScheduleRole"; closes != want {
			t.Errorf("%s may close sockets: %v", name, closes)
		}
		for _, s := range policies[0].PolicyDocument.Statement {
			if strings.Contains(string(s.Resource), "@connections") && !strings.Contains(string(s.Resource), "/POST/") && !strings.Contains(string(s.Resource), "/DELETE/") {
				t.Errorf("%s may do everything to sockets: %s", name, s.Resource)
			}
			if string(s.Resource) == `"*"` || !strings.HasPrefix(string(s.Resource), "{") {
				t.Errorf("%s may do %v on %s", name, s.Action, s.Resource)
			}
			for _, action := range s.Action {
				consumes := strings.HasPrefix(action, "sqs:") && (name == "EventsRole" || name == "FanoutRole")
				item := strings.HasPrefix(action, "dynamodb:") && !strings.ContainsAny(action, "*") && !strings.Contains(action, "Scan") && !strings.Contains(action, "Table")
				if !consumes && !item && !slices.Contains(allowed, action) {
					t.Errorf("%s may do %s", name, action)
				}
			}
		}
		if r.Properties["ManagedPolicyArns"] != nil {
			t.Errorf("%s has policies of others", name)
		}
	}
}

// TestEverythingIsLookedAfter: logs end, queues are encrypted and have dead letters, dead letters and functions have alarms.
func TestEverythingIsLookedAfter(t *testing.T) {
	all := resources(t)
	count := map[string]int{}
	alarms := ""
	for name, r := range all {
		count[r.Type]++
		switch r.Type {
		case "AWS::CloudWatch::Alarm":
			if string(r.Properties["MetricName"]) == `"IntegrationError"` {
				t.Errorf("%s fires when somebody is not let in", name)
			}
			alarms += string(r.Properties["Dimensions"]) + string(r.Properties["MetricName"])
		case "AWS::Logs::LogGroup":
			if r.Properties["RetentionInDays"] == nil {
				t.Errorf("%s keeps logs for ever", name)
			}
		case "AWS::SQS::Queue":
			if string(r.Properties["SqsManagedSseEnabled"]) != "true" {
				t.Errorf("%s is not encrypted", name)
			}
			if dead := strings.Contains(name, "Dead"); dead == (r.Properties["RedrivePolicy"] != nil) {
				t.Errorf("%s: dead letters %v", name, !dead)
			}
		}
	}
	for _, name := range []string{"Ws", "Http", "Events", "Fanout"} {
		counted := all[name+"RuleErrors"].Properties
		if want := `$.msg = \"` + lambdaapp.RulesFailed + `\"`; !strings.Contains(string(counted["FilterPattern"]), want) || !strings.Contains(string(counted["LogGroupName"]), name+"Log") {
			t.Errorf("%s: failing rules are counted by %s", name, counted)
		}
	}
	for name, r := range all {
		watched := r.Type == "AWS::Lambda::Function" || strings.Contains(name, "DeadLetters")
		if watched && !strings.Contains(alarms, `"`+name+`"`) {
			t.Errorf("%s has no alarm", name)
		}
	}
	if group := string(all["SocketFaultLog"].Properties["LogGroupName"]); !strings.Contains(group, `/aws/apigateway/${SocketApi}/${Stage}"`) {
		t.Errorf("API Gateway's own log is %s", group)
	}
	if count["AWS::Lambda::Function"] != 5 || count["AWS::SQS::Queue"] != 4 || count["AWS::DynamoDB::Table"] != 1 || count["AWS::ApiGatewayV2::Api"] != 2 {
		t.Errorf("there are %v", count)
	}
}
