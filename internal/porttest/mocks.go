package porttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// Mocks is the conformance suite of eureka.Mocks. nodes are those of a fresh service.
func Mocks(t *testing.T, newNodes func(t *testing.T) []eureka.Mocks) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, nodes []eureka.Mocks)
	}{
		{"Life", mocksLife},
		{"Names", mocksNames},
		{"Limit", mocksLimit},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newNodes(t)) })
	}
}

func testMock(id string) eureka.Mock {
	return eureka.Mock{
		ID: id, Service: "s", ModelType: "m", ModelID: "{{seq}}", Event: "e", Data: json.RawMessage(`{"b":1,"a":"{{int 1 2}}"}`), Rate: 0.5,
		CreatedAt: 1, UpdatedAt: 2,
	}
}

func mocksLife(t *testing.T, nodes []eureka.Mocks) {
	ctx, first, last := t.Context(), nodes[0], nodes[len(nodes)-1]
	if all, err := first.Mocks(ctx); err != nil || len(all) != 0 {
		t.Errorf("a new service has %v, %v", all, err)
	}
	for _, missing := range []func() error{
		func() error { _, err := first.Mock(ctx, "a"); return err },
		func() error { return first.UpdateMock(ctx, testMock("a")) },
		func() error { return first.DeleteMock(ctx, "a") },
	} {
		wantCode(t, "a mock that is not there", missing(), eureka.CodeNotFound)
	}
	for _, id := range []string{"b", "a"} {
		if err := first.CreateMock(ctx, testMock(id)); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "the same id again", last.CreateMock(ctx, testMock(id)), eureka.CodeConflict)
	}
	changed := testMock("a")
	changed.Data, changed.Rate = json.RawMessage(`[]`), 7
	if err := last.UpdateMock(ctx, changed); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		all, err := n.Mocks(ctx)
		if diff := cmp.Diff([]eureka.Mock{changed, testMock("b")}, all); err != nil || diff != "" {
			t.Errorf("node %d: %v, %s", i, err, diff)
		}
		one, err := n.Mock(ctx, "a")
		if diff := cmp.Diff(changed, one); err != nil || diff != "" {
			t.Errorf("node %d: %v, %s", i, err, diff)
		}
	}
	if err := last.DeleteMock(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	_, err := first.Mock(ctx, "a")
	wantCode(t, "a deleted mock", err, eureka.CodeNotFound)
	if err := first.CreateMock(ctx, testMock("a")); err != nil {
		t.Errorf("the id of a deleted mock: %v", err)
	}
}

func mocksNames(t *testing.T, nodes []eureka.Mocks) {
	for _, id := range []string{"a.b", "A", "a:b", "a_b-c", strings.Repeat("x", eureka.MaxNameLength)} {
		if err := nodes[0].CreateMock(t.Context(), testMock(id)); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if m, err := nodes[0].Mock(t.Context(), id); err != nil || m.ID != id {
			t.Errorf("%s: %+v, %v", id, m, err)
		}
	}
	for _, id := range []string{"", ">", "*", "a b", "../a"} {
		_, err := nodes[0].Mock(t.Context(), id)
		wantCode(t, "no name: "+id, err, eureka.CodeNotFound)
	}
}

func mocksLimit(t *testing.T, nodes []eureka.Mocks) {
	for i := range eureka.MaxMocks {
		if err := nodes[0].CreateMock(t.Context(), testMock(fmt.Sprintf("m%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "one too many", nodes[0].CreateMock(t.Context(), testMock("more")), eureka.CodeConflict)
	if all, err := nodes[0].Mocks(t.Context()); err != nil || len(all) != eureka.MaxMocks || all[0].ID != "m000" {
		t.Errorf("%d mocks, %v", len(all), err)
	}
}
