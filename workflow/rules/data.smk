# Stimuli, responses, split, ceiling and features.


rule check_study:
    # First by priority. Only the report depends on it: else any edit of the study would compute everything anew.
    input:
        page=page("check_study"),
    output:
        f"{FOLDER}/checked.json",
    log:
        f"{LOG}/check_study.log",
    benchmark:
        f"{TIMES}/check_study.tsv"
    priority: 100
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        parameters=as_json(**STUDY.config),
    shell:
        "brainenc check_study --parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule prepare_stimuli:
    input:
        page=page("prepare_stimuli"),
    output:
        f"{FOLDER}/stimuli.tsv",
    log:
        f"{LOG}/prepare_stimuli.log",
    benchmark:
        f"{TIMES}/prepare_stimuli.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        parameters=as_json(**STUDY.config["dataset"]),
        files=data_fingerprint(STUDY.config["dataset"]),
    shell:
        "brainenc prepare_stimuli --parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule prepare_responses:
    input:
        page=page("prepare_responses"),
    output:
        responses=temp(f"{SUBJECT}/responses-raw.h5"),
        regions=f"{SUBJECT}/regions.h5",
    log:
        f"{LOG}/prepare_responses/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/prepare_responses/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        parameters=as_json(**STUDY.config["dataset"]),
        files=lambda wildcards: data_fingerprint(
            STUDY.config["dataset"], wildcards.subject
        ),
    shell:
        "brainenc prepare_responses --threads {threads} --parameters {params.parameters:q} "
        "--subject {wildcards.subject} --output {output.responses:q} --regions {output.regions:q} 2> {log:q}"


rule split_samples:
    input:
        stimuli=f"{FOLDER}/stimuli.tsv",
        responses=f"{SUBJECT}/responses-raw.h5",
        page=page("split_samples"),
    output:
        f"{SUBJECT}/split.tsv",
    log:
        f"{LOG}/split_samples/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/split_samples/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        parameters=as_json(**STUDY.config["split"]),
    shell:
        "brainenc split_samples --stimuli {input.stimuli:q} --responses {input.responses:q} "
        "--parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule clean_responses:
    input:
        responses=f"{SUBJECT}/responses-raw.h5",
        split=f"{SUBJECT}/split.tsv",
        page=page("clean_responses"),
    output:
        responses=f"{SUBJECT}/responses.h5",
        quality=f"{SUBJECT}/quality.json",
    log:
        f"{LOG}/clean_responses/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/clean_responses/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 6),
        runtime=60,
    params:
        parameters=as_json(**STUDY.config["responses"]),
    shell:
        "brainenc clean_responses --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--parameters {params.parameters:q} --output {output.responses:q} --quality {output.quality:q} 2> {log:q}"


rule estimate_ceiling:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        page=page("estimate_ceiling"),
    output:
        f"{SUBJECT}/ceiling.h5",
    log:
        f"{LOG}/estimate_ceiling/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/estimate_ceiling/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 6),
        runtime=60,
    params:
        parameters=as_json(
            **STUDY.config["ceiling"], average=STUDY.config["responses"]["average"]
        ),
    shell:
        "brainenc estimate_ceiling --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule extract_features:
    input:
        stimuli=f"{FOLDER}/stimuli.tsv",
        page=page("extract_features"),
    output:
        f"{FOLDER}/features/{{features}}.h5",
    log:
        f"{LOG}/extract_features/{{features}}.log",
    benchmark:
        f"{TIMES}/extract_features/{{features}}.tsv"
    conda:
        ENVIRONMENT
    threads: STUDY.config["resources"]["threads"]
    resources:
        mem_mb=6000,
        runtime=240,
        gpu=STUDY.config["resources"]["gpu"],
    params:
        parameters=feature_parameters,
        files=lambda wildcards: entry_fingerprint(
            STUDY.config["features"][wildcards.features]
        ),
    shell:
        "brainenc extract_features --threads {threads} --stimuli {input.stimuli:q} --name {wildcards.features} "
        "--parameters {params.parameters:q} --output {output:q} 2> {log:q}"
