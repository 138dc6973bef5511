package rule

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"cel.dev/cel-go/cel"

	"eureka"
)

// errData says that the data cannot be evaluated.
var errData = errors.New("data has a number that no 64-bit number comes near, or is not JSON")

// input is one subject as rules see it. Data and claims are decoded when the first rule asks for them.
type input struct {
	subject      eureka.RuleSubject
	data, claims lazy
}

// lazy is a JSON value that is decoded once.
type lazy struct {
	value any
	err   error
	done  bool
}

func (l *lazy) decode(text json.RawMessage) (any, error) {
	if !l.done {
		l.done = true
		l.value, l.err = decode(text)
	}
	return l.value, l.err
}

// decodedData is the data, or the error that rules about it end with.
func (in *input) decodedData() (any, error) { return in.data.decode(in.subject.Data) }

// ResolveName implements the library's activation.
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case "data":
		v, err := in.decodedData()
		return v, err == nil
	case "event":
		return in.subject.Event, true
	case "service":
		return in.subject.Service, true
	case "modelType":
		return in.subject.ModelType, true
	case "modelId":
		return in.subject.ModelID, true
	case "ts":
		return in.subject.TS, true
	case "user":
		return in.subject.User, true
	case "channel":
		return in.subject.Channel, true
	case "claims":
		v, err := in.claims.decode(in.subject.Claims)
		return v, err == nil
	default:
		return nil, false
	}
}

// Parent implements the library's activation.
func (*input) Parent() cel.Activation { return nil }

// text returns one of the variables that are strings.
func (in *input) text(name string) string {
	v, _ := in.ResolveName(name)
	s, _ := v.(string)
	return s
}

// decode reads one JSON value. Numbers without fraction and exponent are integers as long as they fit, others are doubles. No text is null.
func decode(text json.RawMessage) (any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errData
	}
	return numbers(v)
}

// numbers turns the decoder's numbers into those of the language, in place.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if v[key], err = numbers(member); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, element := range v {
			if v[i], err = numbers(element); err != nil {
				return nil, err
			}
		}
	case json.Number:
		return number(string(v))
	}
	return v, nil
}

func number(text string) (any, error) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return u, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, errData
	}
	return f, nil
}
