package deploytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type stack struct {
	id         string
	status     string
	template   *template // of what is there; nil before the first execution
	parameters map[string]string
	set        *changeSet
	events     []string // XML, newest first
	pending    []string // logical names that will be done, one for each look
	then       string   // status when all are done
}

type changeSet struct {
	id         string
	template   *template
	parameters map[string]string
	changes    []string // XML
	action     map[string]string
}

func (c *Cloud) serveQuery(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		c.t.Error(err)
	}
	action := r.Form.Get("Action")
	if !c.note(action) {
		c.refuse(w, r, http.StatusForbidden, "AccessDenied", "not authorized to do "+action)
		return
	}
	if action == "GetCallerIdentity" {
		answer(w, action, "<Account>"+Account+"</Account><UserId>u</UserId><Arn>arn:aws:iam::"+Account+":user/u</Arn>")
		return
	}
	do := map[string]func(url.Values) (string, error){
		"DescribeStacks": c.describeStacks, "CreateChangeSet": c.createChangeSet, "DescribeChangeSet": c.describeChangeSet,
		"DeleteChangeSet": c.deleteChangeSet, "ExecuteChangeSet": c.executeChangeSet, "DeleteStack": c.deleteStack,
		"DescribeStackEvents": c.describeStackEvents, "ListStackResources": c.listStackResources,
	}[action]
	if do == nil {
		c.t.Errorf("CloudFormation is asked for %s", action)
		c.refuse(w, r, http.StatusBadRequest, "InvalidAction", action)
		return
	}
	result, err := do(r.Form)
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, "ValidationError", err.Error())
		return
	}
	answer(w, action, result)
}

func answer(w http.ResponseWriter, action, result string) {
	w.Header().Set("Content-Type", "text/xml")
	form := "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></%[1]sResponse>"
	_, _ = fmt.Fprintf(w, form, action, result) //nolint:gosec // XML for the SDK of a test, which may be gone
}

// named finds a stack. A deleted one can be had by its id alone.
func (c *Cloud) named(name string) (*stack, error) {
	if c.stack == nil || (name != c.stack.id && (c.stack.status == "DELETE_COMPLETE" || !strings.Contains(c.stack.id, "/"+name+"/"))) {
		return nil, fmt.Errorf("Stack with id %s does not exist", name) //nolint:staticcheck // the words of AWS
	}
	return c.stack, nil
}

func (c *Cloud) describeStacks(in url.Values) (string, error) {
	s, err := c.named(in.Get("StackName"))
	if err != nil {
		return "", err
	}
	c.progress(s)
	var parameters, outputs strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.parameters)) {
		fmt.Fprintf(&parameters, "<member><ParameterKey>%s</ParameterKey><ParameterValue>%s</ParameterValue></member>", name, escape(s.parameters[name]))
	}
	if s.template != nil && s.status != "ROLLBACK_COMPLETE" {
		for _, name := range slices.Sorted(maps.Keys(s.template.Outputs)) {
			fmt.Fprintf(&outputs, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", name, escape(s.output(name)))
		}
	}
	text := fmt.Sprintf("<Stacks><member><StackName>%s</StackName><StackId>%s</StackId><StackStatus>%s</StackStatus><CreationTime>2026-01-02T03:04:05Z</CreationTime><Parameters>%s</Parameters><Outputs>%s</Outputs></member></Stacks>",
		strings.Split(s.id, "/")[1], s.id, s.status, parameters.String(), outputs.String())
	return text, nil
}

// output is a value with references to parameters filled in and others by their name.
func (s *stack) output(name string) string {
	text := string(s.template.Outputs[name].Value)
	var form map[string]string
	if err := json.Unmarshal([]byte(text), &form); err == nil {
		text = form["Fn::Sub"]
		if form["Ref"] != "" {
			text = "${" + form["Ref"] + "}"
		}
	}
	for parameter, value := range s.parameters {
		text = strings.ReplaceAll(text, "${"+parameter+"}", value)
	}
	return strings.NewReplacer("${AWS::Region}", Region, "${AWS::URLSuffix}", "amazonaws.com", "${", "", "}", "").Replace(text)
}

func (c *Cloud) createChangeSet(in url.Values) (string, error) {
	name := in.Get("StackName")
	s, err := c.named(name)
	create := in.Get("ChangeSetType") == "CREATE"
	if create != (err != nil) && (s == nil || s.status != "REVIEW_IN_PROGRESS") {
		return "", fmt.Errorf("the change set's type is %s and the stack's state another", in.Get("ChangeSetType"))
	}
	template, err := parseTemplate(in.Get("TemplateBody"))
	if err != nil {
		return "", err
	}
	if !slices.Contains(members(in, "Capabilities"), "CAPABILITY_IAM") && template.has("AWS::IAM::Role") {
		return "", fmt.Errorf("Requires capabilities : [CAPABILITY_IAM]") //nolint:staticcheck // likewise
	}
	if s == nil {
		c.stacks++
		s = &stack{id: fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/%d", Region, Account, name, c.stacks), status: "REVIEW_IN_PROGRESS"}
		c.stack = s
	}
	values, err := template.values(in, s.parameters)
	if err != nil {
		return "", err
	}
	s.set = &changeSet{id: s.id + "/" + in.Get("ChangeSetName"), template: template, parameters: values, action: map[string]string{}}
	s.compare()
	return fmt.Sprintf("<Id>%s</Id><StackId>%s</StackId>", s.set.id, s.id), nil
}

// compare finds what the change set changes: a resource whose text, or whose parameters, differ.
func (s *stack) compare() {
	var before map[string]json.RawMessage
	if s.template != nil {
		before = s.template.Resources
	}
	for _, name := range slices.Sorted(maps.Keys(s.set.template.Resources)) {
		action := ""
		if old, there := before[name]; !there {
			action = "Add"
		} else if string(old) != string(s.set.template.Resources[name]) || s.usesChanged(string(old)) {
			action = "Modify"
		}
		s.change(action, name, s.set.template.kind(name))
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := s.set.template.Resources[name]; !there {
			s.change("Remove", name, s.template.kind(name))
		}
	}
}

func (s *stack) change(action, name, kind string) {
	if action == "" {
		return
	}
	s.set.action[name] = action
	s.set.changes = append(s.set.changes, fmt.Sprintf(
		"<member><Type>Resource</Type><ResourceChange><Action>%s</Action><LogicalResourceId>%s</LogicalResourceId><ResourceType>%s</ResourceType><Replacement>False</Replacement></ResourceChange></member>",
		action, name, kind))
}

func (s *stack) usesChanged(text string) bool {
	for name, value := range s.set.parameters {
		if value != s.parameters[name] && (strings.Contains(text, `"Ref":"`+name+`"`) || strings.Contains(text, "${"+name+"}")) {
			return true
		}
	}
	return false
}

func (c *Cloud) changeSetNamed(in url.Values) (*stack, error) {
	if c.stack == nil || c.stack.set == nil || c.stack.set.id != in.Get("ChangeSetName") {
		return nil, fmt.Errorf("ChangeSet [%s] does not exist", in.Get("ChangeSetName"))
	}
	return c.stack, nil
}

// shown is how many changes one page has: few, so that pages are used.
const shown = 20

func (c *Cloud) describeChangeSet(in url.Values) (string, error) {
	s, err := c.changeSetNamed(in)
	if err != nil {
		return "", err
	}
	if c.Refuse != "" {
		return "<Status>FAILED</Status><StatusReason>" + escape(c.Refuse) + "</StatusReason>", nil
	}
	if len(s.set.changes) == 0 {
		return "<Status>FAILED</Status><StatusReason>The submitted information didn't contain changes.</StatusReason>", nil
	}
	from := 0
	if token := in.Get("NextToken"); token != "" {
		if _, err := fmt.Sscan(token, &from); err != nil {
			return "", err
		}
	}
	to, next := min(from+shown, len(s.set.changes)), ""
	if to < len(s.set.changes) {
		next = fmt.Sprintf("<NextToken>%d</NextToken>", to)
	}
	return "<Status>CREATE_COMPLETE</Status><Changes>" + strings.Join(s.set.changes[from:to], "") + "</Changes>" + next, nil
}

func (c *Cloud) deleteChangeSet(in url.Values) (string, error) {
	s, err := c.changeSetNamed(in)
	if err == nil {
		s.set = nil
	}
	return "", err
}

func (c *Cloud) executeChangeSet(in url.Values) (string, error) {
	s, err := c.changeSetNamed(in)
	if err != nil {
		return "", err
	}
	b := c.buckets[s.set.parameters["CodeBucket"]]
	if b == nil || b.objects[s.set.parameters["CodeKey"]] == nil {
		return "", fmt.Errorf("the code is not in the bucket")
	}
	verb := "UPDATE"
	if s.template == nil {
		verb = "CREATE"
	}
	s.status, s.then = verb+"_IN_PROGRESS", verb+"_COMPLETE"
	c.event(s, strings.Split(s.id, "/")[1], "AWS::CloudFormation::Stack", s.status, "User Initiated")
	s.template, s.parameters, s.pending = s.set.template, s.set.parameters, slices.Sorted(maps.Keys(s.set.action))
	s.set = nil
	return "", nil
}

func (c *Cloud) deleteStack(in url.Values) (string, error) {
	s, err := c.named(in.Get("StackName"))
	if err != nil {
		return "", nil //nolint:nilerr // deleting what is not there is no error
	}
	if s.template == nil {
		c.stack = nil
		return "", nil
	}
	s.status, s.then = "DELETE_IN_PROGRESS", "DELETE_COMPLETE"
	s.pending = slices.Sorted(maps.Keys(s.template.Resources))
	return "", nil
}

// progress does the next few resources.
func (c *Cloud) progress(s *stack) {
	verb, _, running := strings.Cut(s.status, "_IN_PROGRESS")
	if !running {
		return
	}
	for range 15 {
		if len(s.pending) == 0 {
			s.status = s.then
			c.event(s, strings.Split(s.id, "/")[1], "AWS::CloudFormation::Stack", s.status, "")
			return
		}
		name := s.pending[0]
		s.pending = s.pending[1:]
		if name == c.Fail && verb != "DELETE" {
			c.event(s, name, s.template.kind(name), verb+"_FAILED", "Resource handler returned message: no")
			s.pending, s.then = nil, map[string]string{"CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE"}[verb]
			continue
		}
		c.event(s, name, s.template.kind(name), verb+"_COMPLETE", "")
	}
}

func (c *Cloud) event(s *stack, name, kind, status, reason string) {
	s.events = append([]string{fmt.Sprintf(
		"<member><EventId>%d</EventId><StackId>%s</StackId><LogicalResourceId>%s</LogicalResourceId><ResourceType>%s</ResourceType><ResourceStatus>%s</ResourceStatus><ResourceStatusReason>%s</ResourceStatusReason><Timestamp>%s</Timestamp></member>",
		len(s.events)+1, s.id, name, kind, status, reason, c.tick())}, s.events...)
}

func (c *Cloud) describeStackEvents(in url.Values) (string, error) {
	s, err := c.named(in.Get("StackName"))
	if err != nil {
		return "", err
	}
	from := 0
	if token := in.Get("NextToken"); token != "" {
		if _, err := fmt.Sscan(token, &from); err != nil {
			return "", err
		}
	}
	to, next := min(from+shown, len(s.events)), ""
	if to < len(s.events) {
		next = fmt.Sprintf("<NextToken>%d</NextToken>", to)
	}
	return "<StackEvents>" + strings.Join(s.events[from:to], "") + "</StackEvents>" + next, nil
}

func (c *Cloud) listStackResources(in url.Values) (string, error) {
	s, err := c.named(in.Get("StackName"))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.template.Resources)) {
		fmt.Fprintf(&text, "<member><LogicalResourceId>%s</LogicalResourceId><ResourceType>%s</ResourceType></member>", name, s.template.kind(name))
	}
	return "<StackResourceSummaries>" + text.String() + "</StackResourceSummaries>", nil
}
