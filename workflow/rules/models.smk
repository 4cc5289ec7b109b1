# Encoders: fitted, scored, compared.


rule fit_encoder:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        features=model_features,
        page=page("fit_encoder"),
    output:
        encoder=f"{MODEL}/encoder.safetensors",
        card=f"{MODEL}/encoder.json",
        predictions=f"{MODEL}/predictions.safetensors",
    log:
        f"{LOG}/fit_encoder/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/fit_encoder/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    wildcard_constraints:
        encoder=one_of(sorted(set(STUDY.config["encoders"]) - set(STUDY.trained))),
    conda:
        ENVIRONMENT
    threads: STUDY.config["resources"]["threads"]
    resources:
        mem_mb=memory(8000, 8),
        runtime=480,
        gpu=STUDY.config["resources"]["gpu"],
    params:
        parameters=model_parameters,
    shell:
        "brainenc fit_encoder --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--features {input.features:q} --parameters {params.parameters:q} --output {output.encoder:q} "
        "--card {output.card:q} --predictions {output.predictions:q} 2> {log:q}"


rule fit_readout:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        regions=f"{SUBJECT}/regions.h5",
        features=f"{FOLDER}/features/{{features}}.h5",
        page=page("fit_readout"),
    output:
        encoder=f"{MODEL}/encoder.safetensors",
        card=f"{MODEL}/encoder.json",
        predictions=f"{MODEL}/predictions.safetensors",
        training=f"{MODEL}/training.csv",
    log:
        f"{LOG}/fit_readout/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/fit_readout/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    wildcard_constraints:
        encoder=one_of(STUDY.trained),
    conda:
        ENVIRONMENT
    threads: STUDY.config["resources"]["threads"]
    resources:
        mem_mb=memory(8000, 8),
        runtime=1440,
        gpu=STUDY.config["resources"]["gpu"],
    params:
        parameters=model_parameters,
    shell:
        "brainenc fit_readout --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--regions {input.regions:q} --features {input.features:q} --parameters {params.parameters:q} "
        "--output {output.encoder:q} --card {output.card:q} --predictions {output.predictions:q} "
        "--log {output.training:q} 2> {log:q}"


rule read_attention:
    input:
        stimuli=f"{FOLDER}/stimuli.tsv",
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        features=f"{FOLDER}/features/{{features}}.h5",
        encoder=f"{MODEL}/encoder.safetensors",
        card=f"{MODEL}/encoder.json",
        page=page("read_attention"),
    output:
        maps=f"{MODEL}/attention.safetensors",
        picture=f"{MODEL}/attention.png",
    log:
        f"{LOG}/read_attention/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/read_attention/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 6),
        runtime=60,
    params:
        parameters=as_json(average=STUDY.config["responses"]["average"]),
    shell:
        "brainenc read_attention --threads {threads} --stimuli {input.stimuli:q} --responses {input.responses:q} "
        "--split {input.split:q} --features {input.features:q} --encoder {input.encoder:q} --card {input.card:q} "
        "--parameters {params.parameters:q} --output {output.maps:q} --picture {output.picture:q} 2> {log:q}"


rule score_encoder:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        ceiling=f"{SUBJECT}/ceiling.h5",
        predictions=f"{MODEL}/predictions.safetensors",
        page=page("score_encoder"),
    output:
        f"{MODEL}/scores.h5",
    log:
        f"{LOG}/score_encoder/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/score_encoder/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 6),
        runtime=120,
    params:
        parameters=as_json(
            **STUDY.config["statistics"],
            average=STUDY.config["responses"]["average"],
            floor=STUDY.config["ceiling"]["floor"],
            seed=STUDY.config["seed"],
        ),
    shell:
        "brainenc score_encoder --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--ceiling {input.ceiling:q} --predictions {input.predictions:q} --parameters {params.parameters:q} "
        "--output {output:q} 2> {log:q}"


rule read_receptive_fields:
    input:
        responses=f"{SUBJECT}/responses.h5",
        encoder=f"{MODEL}/encoder.safetensors",
        card=f"{MODEL}/encoder.json",
        scores=f"{MODEL}/scores.h5",
        page=page("read_receptive_fields"),
    output:
        f"{MODEL}/fields.h5",
    log:
        f"{LOG}/read_receptive_fields/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/read_receptive_fields/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000, 2),
        runtime=10,
    params:
        parameters=field_parameters,
    shell:
        "brainenc read_receptive_fields --threads {threads} --responses {input.responses:q} "
        "--encoder {input.encoder:q} --card {input.card:q} --scores {input.scores:q} "
        "--parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule partition_variance:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        predictions=f"{MODEL}/predictions.safetensors",
        scores=f"{MODEL}/scores.h5",
        reduced=reduced_scores,
        page=page("partition_variance"),
    output:
        f"{MODEL}/partition.h5",
    log:
        f"{LOG}/partition_variance/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.log",
    benchmark:
        f"{TIMES}/partition_variance/sub-{{subject}}_encoder-{{encoder}}_features-{{features}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 6),
        runtime=60,
    params:
        parameters=band_parameters,
    shell:
        "brainenc partition_variance --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--predictions {input.predictions:q} --scores {input.scores:q} --reduced {input.reduced:q} "
        "--parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule summarise_regions:
    input:
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        regions=f"{SUBJECT}/regions.h5",
        ceiling=f"{SUBJECT}/ceiling.h5",
        predictions=subject_models("predictions.safetensors"),
        scores=subject_models("scores.h5"),
        page=page("summarise_regions"),
    output:
        regions=f"{SUBJECT}/regions.tsv",
        comparisons=f"{SUBJECT}/comparisons.tsv",
    log:
        f"{LOG}/summarise_regions/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/summarise_regions/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 4),
        runtime=60,
    params:
        parameters=as_json(
            **STUDY.config["statistics"],
            models=[model.label for model in STUDY.models],
            comparisons=STUDY.config["comparisons"],
            average=STUDY.config["responses"]["average"],
            floor=STUDY.config["ceiling"]["floor"],
            seed=STUDY.config["seed"],
        ),
    shell:
        "brainenc summarise_regions --threads {threads} --responses {input.responses:q} --split {input.split:q} "
        "--regions {input.regions:q} --ceiling {input.ceiling:q} --predictions {input.predictions:q} "
        "--scores {input.scores:q} --parameters {params.parameters:q} --output {output.regions:q} "
        "--comparisons {output.comparisons:q} 2> {log:q}"


rule check_recovery:
    # The only rule that opens the planted truth; it runs after every fit and nothing but the report reads it.
    input:
        stimuli=f"{FOLDER}/stimuli.tsv",
        responses=f"{SUBJECT}/responses.h5",
        split=f"{SUBJECT}/split.tsv",
        ceiling=f"{SUBJECT}/ceiling.h5",
        scores=subject_models("scores.h5"),
        encoders=subject_models("encoder.safetensors"),
        partitions=subject_models("partition.h5", JOINT_MODELS),
        page=page("check_recovery"),
    output:
        f"{SUBJECT}/recovery.tsv",
    log:
        f"{LOG}/check_recovery/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/check_recovery/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000, 4),
        runtime=30,
    params:
        models=subject_models(""),
        parameters=as_json(
            dataset=STUDY.config["dataset"],
            models=[model.label for model in STUDY.models],
            features=STUDY.config["features"],
            fdr=STUDY.config["statistics"]["fdr"],
            average=STUDY.config["responses"]["average"],
        ),
    shell:
        "brainenc check_recovery --threads {threads} --subject {wildcards.subject} --stimuli {input.stimuli:q} "
        "--responses {input.responses:q} --split {input.split:q} --ceiling {input.ceiling:q} "
        "--models {params.models:q} --parameters {params.parameters:q} --output {output:q} 2> {log:q}"
