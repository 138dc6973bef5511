package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCount(t *testing.T) {
	const passing = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}
`
	for _, tt := range []struct {
		name, in, want string
		code           int
	}{
		{"passing", passing, "ok          0.2s  p\n1 passed, 0 failed, 0 skipped\n", 0},
		{"nothing ran", "", "0 passed, 0 failed, 0 skipped\n", 1},
		{
			"an attribute", `{"Action":"attr","Package":"p","Test":"TestA","Key":"seed","Value":"7"}
` + passing, "TestA seed: 7\nok          0.2s  p\n1 passed, 0 failed, 0 skipped\n", 0,
		},
		{
			"failing and skipping", passing + `{"Action":"output","Package":"q","Test":"TestB","Output":"why\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:1: no tool\n"}
{"Action":"skip","Package":"q","Test":"TestC"}
{"Action":"fail","Package":"q","Elapsed":1}
`,
			"ok          0.2s  p\nFAILED q TestB\nwhy\nFAILED      1.0s  q\nskipped q TestC: c_test.go:1: no tool\n1 passed, 1 failed, 1 skipped\n", 1,
		},
		{
			"does not build", passing + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"Action":"output","Package":"q","Output":"FAIL q [build failed]\n"}
{"Action":"fail","Package":"q","Elapsed":0,"FailedBuild":"q"}
`,
			"ok          0.2s  p\nq.go:1: syntax error\nFAILED q\nFAIL q [build failed]\nFAILED      0.0s  q\n1 passed, 1 failed, 0 skipped\n", 1,
		},
		{"not JSON", passing + "panic: boom", "ok          0.2s  p\npanic: boom1 passed, 0 failed, 0 skipped\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			code := count(strings.NewReader(tt.in), &out)
			if diff := cmp.Diff(tt.want, out.String()); diff != "" || code != tt.code {
				t.Errorf("code %d (-want +got):\n%s", code, diff)
			}
		})
	}
}
