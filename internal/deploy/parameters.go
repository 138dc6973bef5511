package deploy

import (
	"slices"
	"strconv"
	"strings"

	"eureka"
	"eureka/internal/auth"
)

// setting is how a parameter of the template is called as a setting of the service: JwtSecret is jwt_secret.
func setting(parameter string) string {
	var out strings.Builder
	for i, r := range strings.TrimSuffix(parameter, "Pem") {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				out.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}

// check finds what CloudFormation, or a function at its start, would refuse: there it costs minutes, or a service that answers nothing.
func (p Parameters) check() error {
	known := templateParameters()
	for name, value := range p {
		declared, ok := known[name].(object)
		if !ok || name == ParameterStage {
			return eureka.FieldError(setting(name), "is no parameter of the template")
		}
		if err := checkDeclared(setting(name), value, declared); err != nil {
			return err
		}
	}
	if key := p["AdminKey"]; key != "" && len(key) < auth.MinAdminKey {
		return eureka.FieldError(setting("AdminKey"), "must have at least %d characters", auth.MinAdminKey)
	}
	if _, err := auth.NewOrigins(split(p["AllowedOrigins"])); err != nil {
		return err
	}
	if topic := p["AlarmTopic"]; topic != "" && (!strings.HasPrefix(topic, "arn:") || !strings.Contains(topic, ":sns:")) {
		return eureka.FieldError(setting("AlarmTopic"), "is no ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:alarms")
	}
	return p.checkTokens()
}

// checkDeclared holds a value against what the template says of its parameter.
func checkDeclared(name, value string, declared object) error {
	var allowed []string
	values, _ := declared["AllowedValues"].(list)
	for _, v := range values {
		switch v := v.(type) {
		case int:
			allowed = append(allowed, strconv.Itoa(v))
		case string:
			allowed = append(allowed, v)
		}
	}
	if len(allowed) > 0 && !slices.Contains(allowed, value) {
		return eureka.FieldError(name, "must be one of %s", strings.Join(allowed, ", "))
	}
	low, bounded := declared["MinValue"].(int)
	high, _ := declared["MaxValue"].(int)
	if n, err := strconv.Atoi(value); bounded && (err != nil || n < low || n > high) {
		return eureka.FieldError(name, "must be a number from %d to %d", low, high)
	}
	return nil
}

// checkTokens checks each source of tokens by itself: what is not given stands in the deployment.
func (p Parameters) checkTokens() error {
	sources := map[string][]auth.Issuer{}
	if secret := p["JwtSecret"]; secret != "" {
		sources["jwt_secret"] = []auth.Issuer{{Secret: []byte(secret)}}
	}
	if pem := p["JwtPublicKeyPem"]; pem != "" {
		sources["jwt_public_key"] = []auth.Issuer{{PEM: []byte(pem)}}
	}
	for _, entry := range split(p["JwtJwks"]) {
		sources["jwt_jwks"] = append(sources["jwt_jwks"], auth.JWKSIssuer(entry, ""))
	}
	for name, issuers := range sources {
		for _, issuer := range issuers {
			if _, err := auth.NewTokens(auth.TokenOptions{Issuers: []auth.Issuer{issuer}}); err != nil {
				text := eureka.MessageOf(err)
				if _, behind, found := strings.Cut(text, ": "); found {
					text = behind // what is before it is a place in a list that nobody has seen
				}
				return eureka.FieldError(name, "%s", text)
			}
		}
	}
	return nil
}

// needsCredential reports whether nobody could use a deployment with these values: before is how authentication was until now, "" for a new one.
func (p Parameters) needsCredential(before string) bool {
	wanted := p["Auth"]
	if wanted == "" && before == "" {
		wanted = "service" // the template's default
	}
	return wanted == "service" && before != "service" && p["AdminKey"] == "" && p["JwtSecret"] == "" && p["JwtPublicKeyPem"] == "" && p["JwtJwks"] == ""
}

// split reads a list separated by commas.
func split(text string) []string {
	var entries []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
