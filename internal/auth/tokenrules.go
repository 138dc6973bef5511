package auth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"eureka"
)

// claimsOf keeps what rules and subscriptions need of a token. Its filters must be readable in full: a restriction that is not enforced must not be
// taken for one that is. Whether they are rules turns out when they are used.
func claimsOf(claims object, user string) (*eureka.Claims, error) {
	filters, err := filtersOf(claims, user)
	if err != nil {
		return nil, err
	}
	rest := maps.Clone(claims)
	delete(rest, "filters")
	raw, err := json.Marshal(rest)
	if err != nil {
		return nil, refuse("the token's claims cannot be kept")
	}
	if len(raw) > eureka.MaxClaimsLength {
		raw = nil
	}
	return &eureka.Claims{Raw: raw, Filters: filters}, nil
}

// filtersOf reads the filters by the channel patterns that they are for, with the user in place of each mark in a pattern.
func filtersOf(claims object, user string) ([]eureka.ClaimFilter, error) {
	raw, has := claims["filters"]
	if !has {
		return nil, nil
	}
	members, ok := parseObject(raw)
	if !ok || len(members) > eureka.MaxFilters {
		return nil, refuse("the token's claim %q is no object of at most %d strings, each name once", "filters", eureka.MaxFilters)
	}
	var filters []eureka.ClaimFilter
	for _, pattern := range slices.Sorted(maps.Keys(members)) {
		filter, ok := stringOf(members[pattern])
		if !ok || strings.TrimSpace(filter) == "" || len(filter) > eureka.MaxRuleLength {
			return nil, refuse("the token's claim %q has an entry that is no string of 1 to %d bytes", "filters", eureka.MaxRuleLength)
		}
		if strings.Contains(pattern, subMark) {
			// A user of the name "*" would be restricted on what others listen to, and one without a name nowhere.
			if user == "" || strings.Contains(user, "*") {
				return nil, refuse("the token's claim %q needs a claim %q that can be part of a channel's name", "filters", "sub")
			}
			pattern = strings.ReplaceAll(pattern, subMark, user)
		}
		if eureka.CheckPatterns("filters", []string{pattern}) != nil {
			return nil, refuse("the token's claim %q has an entry that is for no channel pattern", "filters")
		}
		filters = append(filters, eureka.ClaimFilter{Pattern: pattern, Filter: filter})
	}
	return filters, nil
}
