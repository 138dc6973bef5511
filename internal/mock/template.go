package mock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"eureka"
	"eureka/internal/protocol"
)

// maxQuoted is how much of a template an error repeats, in bytes.
const maxQuoted = 80

// Template makes the events of one mock. It is for one goroutine.
type Template struct {
	mock    eureka.Mock
	modelID part
	event   part
	data    []part
	source  *source
}

// part is a piece of the text to make: fixed, or a template.
type part struct {
	fixed    []byte
	template *template.Template // nil for a fixed one
	raw      bool               // of Data: what the template prints is JSON already
}

// Compile reads the templates of a mock. Without a seed its random values differ from time to time; else they are the same again. CodeInvalid names the
// field at fault.
func Compile(m eureka.Mock, seed uint64) (*Template, error) {
	data, err := protocol.Compact("data", m.Data)
	if err != nil {
		return nil, err
	}
	m.Data = data
	if err := m.Validate(); err != nil {
		return nil, err
	}
	t := &Template{mock: m, source: newSource(seed)}
	functions := t.source.functions()
	if t.modelID, err = compileText("modelId", m.ModelID, functions); err != nil {
		return nil, err
	}
	if t.event, err = compileText("event", m.Event, functions); err != nil {
		return nil, err
	}
	t.data, err = compileData(data, functions)
	return t, err
}

// Make returns the event with the number n, from 1. CodeInvalid when what the templates print is no event, CodeTooLarge when it is too long.
func (t *Template) Make(n int) (eureka.Event, error) {
	t.source.n = n
	ev := eureka.Event{ChannelID: t.mock.ChannelID, Service: t.mock.Service, ModelType: t.mock.ModelType}
	for _, f := range []struct {
		field string
		part  part
		to    *string
	}{{"modelId", t.modelID, &ev.ModelID}, {"event", t.event, &ev.Event}} {
		out := limited{room: eureka.MaxMockTemplate}
		if err := f.part.print(&out); err != nil {
			return eureka.Event{}, failed(f.field, err)
		}
		*f.to = out.String()
	}
	out := limited{room: eureka.MaxFrameBytes}
	for _, p := range t.data {
		if err := p.printJSON(&out); err != nil {
			return eureka.Event{}, failed("data", err)
		}
	}
	ev.Data = out.Bytes()
	return ev, ev.Validate()
}

func (p part) print(out io.Writer) error {
	if p.template == nil {
		_, err := out.Write(p.fixed)
		return err
	}
	return p.template.Execute(out, nil)
}

func (p part) printJSON(out io.Writer) error {
	if p.template == nil || p.raw {
		return p.print(out)
	}
	text := limited{room: eureka.MaxFrameBytes}
	if err := p.print(&text); err != nil {
		return err
	}
	quoted, err := json.Marshal(text.String())
	if err != nil {
		return err
	}
	_, err = out.Write(quoted)
	return err
}

var errTooLong = errors.New("too long")

// limited is a buffer that takes no more than its room.
type limited struct {
	bytes.Buffer

	room int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.room {
		return 0, errTooLong
	}
	return l.Buffer.Write(p)
}

// failed words the failure of a template.
func failed(field string, err error) error {
	if errors.Is(err, errTooLong) {
		return &eureka.Error{Code: eureka.CodeTooLarge, Field: field, Message: field + ": is too long once its templates are filled in", Err: err}
	}
	return &eureka.Error{Code: eureka.CodeInvalid, Field: field, Message: field + ": " + reason(err), Err: err}
}

// reason is what text/template says of a template, which is about its writer's own text, without its own words around.
func reason(err error) string {
	text := err.Error()
	var exec template.ExecError
	if errors.As(err, &exec) {
		text = exec.Err.Error()
	}
	for _, prefix := range []string{"template: ", "x:1:", "x:"} {
		text = strings.TrimPrefix(text, prefix)
	}
	if _, behind, ok := strings.Cut(text, "at <"); ok {
		text = "<" + behind
	}
	return "the template cannot be used: " + quoted(strings.TrimSpace(text))
}

func quoted(text string) string {
	if len(text) > 2*maxQuoted {
		text = strings.ToValidUTF8(text[:2*maxQuoted], "") + "…"
	}
	return text
}

// compileData cuts JSON into what is fixed and its strings with templates. A string that is one action and nothing else becomes the value of that.
func compileData(data []byte, functions template.FuncMap) ([]part, error) {
	var parts []part
	fixed := 0
	for i := 0; i < len(data); i++ {
		if data[i] != '"' {
			continue
		}
		end := i + 1
		for data[end] != '"' { // data is valid JSON
			if data[end] == '\\' {
				end++
			}
			end++
		}
		end++
		isKey := end < len(data) && data[end] == ':'
		if isKey || !bytes.Contains(data[i:end], []byte("{{")) {
			i = end - 1
			continue
		}
		var text string
		if err := json.Unmarshal(data[i:end], &text); err != nil {
			return nil, eureka.FieldError("data", "is not valid JSON")
		}
		p, err := compileString(text, functions)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{fixed: data[fixed:i]}, p)
		fixed, i = end, end-1
	}
	return append(parts, part{fixed: data[fixed:]}), nil
}

func compileString(text string, functions template.FuncMap) (part, error) {
	p, err := compileText("data", text, functions)
	if err != nil {
		return p, err
	}
	root := p.template.Root
	if len(root.Nodes) != 1 {
		return p, nil
	}
	if action, ok := root.Nodes[0].(*parse.ActionNode); ok && len(action.Pipe.Decl) == 0 {
		action.Pipe.Cmds = append(action.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier(toJSON)}})
		p.raw = true
	}
	return p, nil
}

// compileText reads a template that prints text.
func compileText(field, text string, functions template.FuncMap) (part, error) {
	if !strings.Contains(text, "{{") {
		return part{fixed: []byte(text)}, nil
	}
	compiled, err := template.New("x").Funcs(functions).Parse(text)
	if err != nil {
		return part{}, failed(field, err)
	}
	switch {
	case len(compiled.Templates()) > 1:
		err = errors.New("it must not define others")
	case compiled.Tree == nil: // nothing but comments
		return part{}, nil
	default:
		err = check(compiled.Root)
	}
	if err != nil {
		return part{}, failed(field, fmt.Errorf("%w in %s", err, quoted(text)))
	}
	return part{template: compiled}, nil
}

// check lets those parts of a template pass whose cost is bounded by the template's length: nothing repeats, nothing calls another template, and nothing
// makes texts longer than those that stand in it.
func check(node parse.Node) error {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil { // an if without an else
			return nil
		}
		return checkAll(n.Nodes)
	case *parse.ActionNode:
		return check(n.Pipe)
	case *parse.IfNode:
		return checkAll([]parse.Node{n.Pipe, n.List, n.ElseList})
	case *parse.PipeNode:
		var values []parse.Node
		for _, c := range n.Cmds {
			values = append(values, c.Args...)
		}
		return checkAll(values)
	case *parse.IdentifierNode:
		return checkFunction(n.Ident)
	case *parse.VariableNode:
		if len(n.Ident) > 1 || n.Ident[0] == "$" {
			return fmt.Errorf("there are no fields such as %s", n)
		}
		return nil
	case *parse.TextNode, *parse.CommentNode, *parse.NumberNode, *parse.StringNode, *parse.BoolNode:
		return nil
	case *parse.FieldNode, *parse.ChainNode, *parse.DotNode:
		return fmt.Errorf("there are no fields such as %s", n)
	default:
		return fmt.Errorf("actions such as %s cannot be used", quoted(n.String()))
	}
}

func checkFunction(name string) error {
	if name != toJSON && slices.Contains(names, name) {
		return nil
	}
	return fmt.Errorf("there is no function %s; there are %s", name, strings.Join(names, ", "))
}

func checkAll(nodes []parse.Node) error {
	for _, n := range nodes {
		if err := check(n); err != nil {
			return err
		}
	}
	return nil
}
