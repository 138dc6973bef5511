package eureka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"eureka"
)

func TestEveryCodeHasItsOwnOutcome(t *testing.T) {
	exits := map[int]eureka.Code{}
	for _, code := range eureka.Codes() {
		o := code.Outcome()
		if o.HTTPStatus < 400 || o.HTTPStatus > 599 {
			t.Errorf("%s: HTTP status %d is no error", code, o.HTTPStatus)
		}
		if other, taken := exits[o.Exit]; taken {
			t.Errorf("%s and %s share exit code %d", code, other, o.Exit)
		}
		exits[o.Exit] = code
		if o.Exit == 0 || o.Exit == 2 {
			t.Errorf("%s: exit code %d is the shell's", code, o.Exit)
		}
		if o.Retry && !o.Close.Reconnect() && o.Close != eureka.CloseRateLimited {
			t.Errorf("%s: may be retried, but close code %d tells the client to stay away", code, o.Close)
		}
	}
	if got := eureka.Code("made up").Outcome(); got != eureka.CodeInternal.Outcome() {
		t.Errorf("an unknown code has outcome %+v", got)
	}
}

func TestErrorsKeepForeignTextInside(t *testing.T) {
	cause := errors.New("dial tcp 10.1.2.3:4222: password=secret")
	tests := []struct {
		name    string
		err     error
		code    eureka.Code
		message string
	}{
		{"nil", nil, "", ""},
		{"ours", eureka.Errorf(eureka.CodeConflict, "id %q is taken", "a"), eureka.CodeConflict, `id "a" is taken`},
		{"wrapped by fmt", fmt.Errorf("context: %w", eureka.FieldError("id", "is bad")), eureka.CodeInvalid, "id: is bad"},
		{"with a cause", eureka.WrapError(eureka.CodeUnavailable, cause, "the engine does not answer"), eureka.CodeUnavailable, "the engine does not answer"},
		{"joined", errors.Join(nil, eureka.Errorf(eureka.CodeTooLarge, "too big")), eureka.CodeTooLarge, "too big"},
		{"foreign", cause, eureka.CodeInternal, "internal error"},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), eureka.CodeTimeout, "the answer did not come in time"},
		{"cancelled", context.Canceled, eureka.CodeUnavailable, "the request was cancelled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := eureka.CodeOf(tt.err); got != tt.code {
				t.Errorf("code %q, want %q", got, tt.code)
			}
			if got := eureka.MessageOf(tt.err); got != tt.message {
				t.Errorf("message %q, want %q", got, tt.message)
			}
		})
	}
	wrapped := eureka.WrapError(eureka.CodeUnavailable, cause, "the engine does not answer")
	if !errors.Is(wrapped, cause) || !errors.Is(wrapped, &eureka.Error{Code: eureka.CodeUnavailable}) || errors.Is(wrapped, &eureka.Error{Code: eureka.CodeGone}) {
		t.Error("errors.Is does not tell causes and codes apart")
	}
}

func TestNames(t *testing.T) {
	longest := strings.Repeat("a", eureka.MaxNameLength)
	for name, want := range map[string]bool{
		"a": true, "0000": true, "1000001": true, "orders-api:order": true, "a.b_c-d:e": true, "A": true, longest: true,
		"": false, longest + "a": false, ".a": false, ":a": false, "-a": false, "_a": false, "a b": false, "a/b": false,
		"a*": false, "a>": false, "é": false, "a\x00": false, "a\n": false, "a@b": false, "a,b": false,
	} {
		if got := eureka.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
	for _, tt := range []struct{ service, modelType, modelID, want string }{
		{"orders-api", "order", "", "orders-api:order"},
		{"orders-api", "order", "42", "orders-api:order:42"},
		{"orders-api", "", "", ""},
		{"", "order", "", ""},
		{"orders api", "order", "", ""},
		{"a", "b", "x/y", ""},
		{longest, "b", "", ""},
	} {
		if got := eureka.ModelName(tt.service, tt.modelType, tt.modelID); got != tt.want {
			t.Errorf("ModelName(%q, %q, %q) = %q, want %q", tt.service, tt.modelType, tt.modelID, got, tt.want)
		}
	}
}

func TestChannelValidate(t *testing.T) {
	fill := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		name  string
		ch    eureka.Channel
		field string // "" for valid
	}{
		{"empty asks for a number", eureka.Channel{}, ""},
		{"0 asks for a number", eureka.Channel{ID: "0"}, ""},
		{"unicode text", eureka.Channel{ID: "a", Name: "주문 é 🎉", Desc: "line\nline\ttab"}, ""},
		{"limits", eureka.Channel{Service: fill(128), ModelType: fill(128), ModelID: fill(128), Name: fill(256), Desc: fill(2048)}, ""},
		{"id", eureka.Channel{ID: "a b"}, "id"},
		{"alias", eureka.Channel{Alias: "a b"}, "alias"},
		{"alias like id", eureka.Channel{ID: "a", Alias: "a"}, "alias"},
		{"alias 0", eureka.Channel{ID: "a", Alias: "0"}, "alias"},
		{"service", eureka.Channel{Service: fill(129)}, "service"},
		{"modelType", eureka.Channel{ModelType: fill(129)}, "modelType"},
		{"modelId", eureka.Channel{ModelType: "t", ModelID: fill(129)}, "modelId"},
		{"modelId alone", eureka.Channel{ModelID: "1"}, "modelId"},
		{"name", eureka.Channel{Name: fill(257)}, "name"},
		{"desc", eureka.Channel{Desc: fill(2049)}, "desc"},
		{"control character", eureka.Channel{Name: "a\x07"}, "name"},
		{"not UTF-8", eureka.Channel{Desc: "\xff"}, "desc"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantField(t, tt.ch.Validate(), tt.field) })
	}
}

func TestQueryValidate(t *testing.T) {
	paging := func(p eureka.Paging) eureka.ChannelQuery { return eureka.ChannelQuery{Paging: p} }
	for _, tt := range []struct {
		name  string
		q     eureka.ChannelQuery
		field string
	}{
		{"zero", eureka.ChannelQuery{}, ""},
		{"deepest page", paging(eureka.Paging{Page: eureka.MaxOffset / 1000, Limit: 1000}), ""},
		{"too deep", paging(eureka.Paging{Page: eureka.MaxOffset/1000 + 1, Limit: 1000}), "page"},
		{"overflow", paging(eureka.Paging{Page: 1 << 62, Limit: 1000}), "page"},
		{"negative page", paging(eureka.Paging{Page: -1}), "page"},
		{"limit", paging(eureka.Paging{Limit: eureka.MaxLimit + 1}), "limit"},
		{"negative limit", paging(eureka.Paging{Limit: -2}), "limit"},
		{"after and page", paging(eureka.Paging{Page: 1, After: "x"}), "after"},
		{"unknown field", eureka.ChannelQuery{Where: []eureka.Condition{{Field: "colour", Values: []string{"red"}}}}, "colour"},
		{"no value", eureka.ChannelQuery{Where: []eureka.Condition{{Field: "service"}}}, "service"},
		{"exists needs none", eureka.ChannelQuery{Where: []eureka.Condition{{Field: "service", Match: eureka.Exists}}}, ""},
		{"sort", eureka.ChannelQuery{Sort: eureka.Sort{Field: "desc"}}, "sort"},
		{"text", eureka.ChannelQuery{Text: strings.Repeat("x", eureka.MaxQueryText+1)}, "q"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantField(t, tt.q.Validate(), tt.field) })
	}
}

func TestEventValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		ev   eureka.Event
		ok   bool
	}{
		{"model", eureka.Event{Service: "s", ModelType: "m"}, true},
		{"channel", eureka.Event{ChannelID: "c"}, true},
		{"nowhere", eureka.Event{Service: "s"}, false},
		{"bad channel", eureka.Event{ChannelID: "c d"}, false},
		{"long event", eureka.Event{ChannelID: "c", Event: strings.Repeat("e", eureka.MaxEventLength+1)}, false},
		{"long model id", eureka.Event{Service: "s", ModelType: "m", ModelID: strings.Repeat("i", 129)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.ev.Validate(); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCloseCodesSayWhetherToComeBack(t *testing.T) {
	for code, want := range map[eureka.CloseCode]bool{
		eureka.CloseNormal: false, eureka.CloseTooBig: false, eureka.CloseUnauthenticated: false, eureka.CloseKicked: false,
		eureka.CloseAbnormal: true, eureka.CloseRestart: true, eureka.CloseSlowConsumer: true, eureka.CloseMaxAge: true, eureka.CloseIdle: true,
	} {
		if code.Reconnect() != want {
			t.Errorf("%d: reconnect %v", code, !want)
		}
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var e *eureka.Error
	if !errors.As(err, &e) || e.Code != eureka.CodeInvalid || e.Field != field {
		t.Errorf("got %v, want an invalid %s", err, field)
	}
}
