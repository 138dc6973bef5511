package rule

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"eureka"
)

// maxDepth is how deep the result of a transform may be nested.
const maxDepth = 100

var (
	errSize   = errors.New("the result is over the limit of 131072 bytes")
	errDepth  = errors.New("the result is nested too deep")
	errNumber = errors.New("the result has a number that is infinite or none")
	errKey    = errors.New("the result has an object with a key that is no string")
	errText   = errors.New("the result has a string that is not UTF-8")
)

// encoder writes a value as JSON. It ends with the first error.
type encoder struct {
	b   []byte
	err error
}

// encode returns a result as compact JSON, object members in the order of their names: the same subject has always the same result. Bytes become
// base64, timestamps and durations what protocol buffers make of them.
func encode(v ref.Val) (json.RawMessage, error) {
	e := encoder{b: make([]byte, 0, 256)}
	e.value(v, 0)
	if e.err == nil && len(e.b) > eureka.MaxFrameBytes {
		e.err = errSize
	}
	return e.b, e.err
}

func (e *encoder) value(v any, depth int) {
	switch {
	case e.err != nil:
		return
	case depth > maxDepth:
		e.err = errDepth
		return
	case len(e.b) > eureka.MaxFrameBytes:
		e.err = errSize
		return
	}
	if e.scalar(v) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		e.native(v, depth)
	case []any:
		e.list(len(v), func(i int) any { return v[i] }, depth)
	case traits.Mapper:
		e.mapper(v, depth)
	case traits.Lister:
		n, ok := v.Size().(types.Int)
		if !ok {
			e.err = errors.New("the result has a list without a size")
			return
		}
		e.list(int(n), func(i int) any { return v.Get(types.Int(i)) }, depth)
	case *types.Err:
		e.err = v
	case ref.Val:
		e.err = errors.New("the result has a " + v.Type().TypeName() + ", which JSON cannot say")
	default:
		e.err = errors.New("the result has a value that JSON cannot say")
	}
}

// scalar writes a value that is neither a list nor a map. It reports false for those.
func (e *encoder) scalar(v any) bool {
	switch v := v.(type) {
	case nil, types.Null:
		e.b = append(e.b, "null"...)
	case bool:
		e.b = strconv.AppendBool(e.b, v)
	case types.Bool:
		e.b = strconv.AppendBool(e.b, bool(v))
	case string:
		e.text(v)
	case types.String:
		e.text(string(v))
	case types.Bytes:
		e.text(base64.StdEncoding.EncodeToString(v))
	case types.Timestamp:
		e.text(v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		e.text(strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s")
	default:
		return e.number(v)
	}
	return true
}

func (e *encoder) number(v any) bool {
	switch v := v.(type) {
	case int64:
		e.b = strconv.AppendInt(e.b, v, 10)
	case types.Int:
		e.b = strconv.AppendInt(e.b, int64(v), 10)
	case uint64:
		e.b = strconv.AppendUint(e.b, v, 10)
	case types.Uint:
		e.b = strconv.AppendUint(e.b, uint64(v), 10)
	case float64:
		e.float(v)
	case types.Double:
		e.float(float64(v))
	default:
		return false
	}
	return true
}

func (e *encoder) float(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.err = errNumber
		return
	}
	text, err := json.Marshal(f)
	e.b, e.err = append(e.b, text...), err
}

func (e *encoder) text(s string) {
	// Checked first: escaping makes a text six times as long at the most.
	if len(s) > eureka.MaxFrameBytes {
		e.err = errSize
		return
	}
	if !utf8.ValidString(s) {
		e.err = errText
		return
	}
	var text bytes.Buffer
	quote := json.NewEncoder(&text)
	quote.SetEscapeHTML(false) // it is as publishers write it
	e.err = quote.Encode(s)
	e.b = append(e.b, bytes.TrimSuffix(text.Bytes(), []byte{'\n'})...)
}

func (e *encoder) list(n int, at func(int) any, depth int) {
	e.b = append(e.b, '[')
	for i := 0; i < n && e.err == nil; i++ {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.value(at(i), depth+1)
	}
	e.b = append(e.b, ']')
}

func (e *encoder) native(m map[string]any, depth int) {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	e.object(keys, func(key string) any { return m[key] }, depth)
}

func (e *encoder) mapper(m traits.Mapper, depth int) {
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			e.err = errKey
			return
		}
		if keys = append(keys, string(key)); len(keys) > eureka.MaxFrameBytes {
			e.err = errSize
			return
		}
	}
	e.object(keys, func(key string) any { return m.Get(types.String(key)) }, depth)
}

func (e *encoder) object(keys []string, at func(string) any, depth int) {
	slices.Sort(keys)
	e.b = append(e.b, '{')
	for i, key := range keys {
		if e.err != nil {
			return
		}
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.text(key)
		e.b = append(e.b, ':')
		e.value(at(key), depth+1)
	}
	e.b = append(e.b, '}')
}
